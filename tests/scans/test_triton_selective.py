"""Triton's kernels of sampled systems against their definition in float64.

As in ``test_triton_kernels.py``, machines without a GPU run this in Triton's interpreter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ssmbench.registry import scans
from ssmbench.scans.selective import Form, selective_layer
from ssmbench.scans.triton import selective as kernels
from ssmbench.systems import ElementwiseRule, Readout, Rule, SampledModes, TimeVaryingDiagonal
from tests.scans.interpreter import DEVICE, skip_module_without_kernels

skip_module_without_kernels()

pytestmark = pytest.mark.usefixtures("fresh_memory_is_nan")

#: Float32 sums over 16 states and some 20 steps, and its exponential.
TOLERANCE = 2e-6
NAMES = ("u", "dt", "lam", "B", "C", "D", "x0")
HELD, LINE = ElementwiseRule(Rule.one_stage, 0.4), ElementwiseRule(Rule.one_stage, 1.0, 1.0)
EXPONENTIAL, TUSTIN = ElementwiseRule(Rule.exponential), ElementwiseRule(Rule.tustin)


def inputs_of(
    batch: int = 1,
    length: int = 5,
    heads: int = 3,
    states: int = 2,
    groups: int = 1,
    varies: bool = False,
) -> list[Tensor]:
    """u, dt, lam, B, C, D and x0 in float32. Modes are slow, fast, an integrator's and one that
    grows; dt lam lies on both sides of where the exponential's series ends."""
    torch.manual_seed(length + 10 * heads + 100 * states)
    rows, place = (batch, length, groups, states), (batch, length, heads)
    lam = -torch.exp(2 * torch.randn(heads, states))
    lam[0, 0], lam[-1, -1], lam[-1, 0] = -300, 0, 0.7
    dt = torch.rand(place) * 0.3 + 1e-3
    D = torch.randn(place if varies else heads)
    tables = torch.randn(2, *rows)
    given = [torch.randn(place), dt, lam, *tables, D, torch.randn(batch, heads, states)]
    return [x.to(DEVICE) for x in given]


def results(layer, inputs: Sequence[Tensor | None], form: Form) -> dict[str, Tensor]:
    """The outputs, and the gradients of every input for fixed weights of them."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
    outputs = layer(*leaves, form)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(x.shape, generator=generator).to(x) for x in outputs]
    present = {name: x for name, x in zip(NAMES, leaves, strict=True) if x is not None}
    gradients = torch.autograd.grad(outputs, list(present.values()), weights)
    return dict(zip(("y", "final", *present), (*outputs, *gradients), strict=True))


def check(inputs: Sequence[Tensor | None], form: Form, exact: Form | None = None) -> None:
    found = results(kernels._layer, inputs, form)
    wide = [None if x is None else x.double() for x in inputs]
    for key, expected in results(selective_layer, wide, exact or form).items():
        assert found[key].shape == expected.shape, key
        error = (found[key] - expected).abs().max() / expected.abs().max()
        assert error < TOLERANCE, f"{key}: relative error {error:.1e}"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("rule", "euler"),
    [
        (EXPONENTIAL, False),
        (EXPONENTIAL, True),
        (HELD, False),
        (HELD, True),
        (LINE, False),
        (TUSTIN, False),
    ],
)
def test_every_form_and_every_gradient(rule, euler, after):
    check(inputs_of(), Form(rule, euler, after))


@pytest.mark.parametrize("length", [1, 16, 35])
def test_lengths_around_the_steps_between_saved_states(length):
    check(inputs_of(length=length), Form(EXPONENTIAL, after=True))


def given_of(groups: int, heads: int, **sizes) -> list[Tensor | None]:
    """As :func:`inputs_of`, of a system that is discrete already."""
    u, _, _, B, C, D, x0 = inputs_of(heads=heads, groups=groups, varies=True, **sizes)
    return [u, None, torch.rand(B.shape, device=DEVICE), B, C, D, x0]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("groups", "heads", "states"), [(1, 9, 3), (2, 8, 16), (2, 2, 17)])
def test_discrete_systems_of_groups(groups, heads, states, after):
    check(given_of(groups, heads, states=states, length=19), Form(after=after))


@pytest.mark.parametrize("lam", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("rule", [EXPONENTIAL, HELD, LINE, TUSTIN])
@pytest.mark.parametrize("dt", [math.inf, math.nan])
def test_a_step_that_is_not_finite_is_not_hidden(rule, lam, dt):
    one = torch.ones(1, 1, 1, device=DEVICE)
    given = (one, dt * one, lam * one[0], one[None], one[None], one[0, 0], one)
    for layer in (kernels._layer, selective_layer):
        assert not layer(*given, Form(rule))[1].isfinite().any()


SHAPES = [
    {"batch": 2, "heads": 9, "states": 16},  # two blocks of channels, the second of one
    {"heads": 6, "groups": 2, "varies": True},
    {"heads": 2, "groups": 2, "states": 17},  # the wide blocks
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape):
    inputs = inputs_of(length=3, **shape)
    check([*inputs[:-1], None] if "batch" not in shape else inputs, Form(TUSTIN))


def test_any_strides():
    inputs = [torch.stack([x, -x], -1)[..., 0] for x in inputs_of(length=2)]
    assert not any(x.is_contiguous() for x in inputs)
    check(inputs, Form(EXPONENTIAL))


@pytest.mark.parametrize(
    "wrong",
    [
        Form(ElementwiseRule(Rule.one_stage, 0.401)),
        Form(ElementwiseRule(Rule.one_stage, 0.4, 0.01)),
        Form(HELD, euler_input=True),
        Form(HELD, after=True),
    ],
)
def test_another_form_would_be_seen(wrong):
    with pytest.raises(AssertionError, match="relative error"):
        check(inputs_of(), wrong, exact=Form(HELD))


def test_states_that_were_not_kept_are_made_again():
    inputs, numbers = inputs_of(length=18), Form(TUSTIN).numbers
    y, final, saved = torch.ops.ssmbench.triton_selective(*inputs, *numbers, True)
    again = torch.ops.ssmbench.triton_selective(*inputs, *numbers, False)
    assert again[2].numel() == 0
    assert torch.equal(y, again[0])
    backward = torch.ops.ssmbench.triton_selective_backward
    kept = backward(*inputs, *numbers, saved, y, final)
    for one, other in zip(kept, backward(*inputs, *numbers, again[2], y, final), strict=True):
        assert torch.equal(one, other)


def test_saved_states_take_four_bytes_a_token_and_channel_of_16_states():
    u, row = torch.empty(8, 4096, 512, device="meta"), torch.empty(8, 4096, 1, 16, device="meta")
    lam, D = torch.empty(512, 16, device="meta"), torch.empty(512, device="meta")
    inputs = (u, u, lam, row, row, D, None, *Form(EXPONENTIAL).numbers)
    layer = torch.ops.ssmbench.triton_selective
    assert layer(*inputs, True)[2].nbytes == 4 * u.numel()
    assert layer(*inputs, False)[2].nbytes == 0


def test_second_derivatives():
    form = Form(EXPONENTIAL, after=True)

    def second(layer, inputs):
        leaves = [x.detach().requires_grad_() for x in inputs]
        energy = sum(y.pow(3).sum() for y in layer(*leaves, form))
        first = torch.autograd.grad(energy, leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    inputs = inputs_of(length=3)
    exact = second(selective_layer, [x.double() for x in inputs])
    for found, expected in zip(second(kernels._layer, inputs), exact, strict=True):
        error = (found - expected).abs().max() / expected.abs().max()
        assert error < 10 * TOLERANCE


# --- the backend ----------------------------------------------------------------------------------


def sampled(dtype: torch.dtype = torch.float32, **changes) -> tuple[SampledModes, Tensor, Tensor]:
    """A system whose channels share B and C, u (B, L, H, 1) and x0."""
    u, dt, lam, B, C, D, x0 = (x.to(dtype) for x in inputs_of())
    system = SampledModes(
        lam=lam[None, None],
        B=B[..., None],
        C=C[..., None, :],
        D=D[:, None, None],
        dt=dt,
        sampling=EXPONENTIAL,
        readout=Readout.after,
    )
    return dataclasses.replace(system, **changes), u[..., None], x0


def test_the_backend_samples_in_the_scan():
    backend, (system, u, x0) = scans.get("triton").build(), sampled()
    assert backend.fuses(system, u)
    assert backend.fuses(system, u.bfloat16())
    inputs = (u[..., 0], system.dt, system.lam[0, 0], system.B[..., 0], system.C[..., 0, :])
    exact = [x.double() for x in (*inputs, system.D[:, 0, 0], x0)]
    y, final = selective_layer(*exact, Form(EXPONENTIAL, after=True))
    found, last = backend.scan_sampled(system, u, x0)
    assert found.shape == u.shape
    for one, other in ((found[..., 0], y), (last, final)):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()
    half = u.bfloat16().requires_grad_()
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        rounded, _ = backend.scan_sampled(system, half, x0)
    assert torch.equal(rounded, backend.scan_sampled(system, half.float(), x0)[0])
    assert torch.autograd.grad(rounded.sum(), half)[0].dtype == torch.bfloat16


def test_the_backend_scans_discrete_systems_whose_heads_share_rows(monkeypatch):
    u, _, lam, B, C, D, x0 = given_of(2, 8, states=3)
    system = TimeVaryingDiagonal(lam=lam, B=B[..., None], C=C[..., None, :], D=D[..., None, None])
    backend = scans.get("triton").build()
    assert backend.takes_shared_rows
    found = backend(system, u[..., None], x0)
    wide = [None if x is None else x.double() for x in (u, None, lam, B, C, D, x0)]
    exact, final = selective_layer(*wide, Form())
    for one, other in zip(found, (exact[..., None], final), strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()

    def selective(*given):
        raise AssertionError("of rows of every head the states are written")

    monkeypatch.setattr(kernels, "scan_selective", selective)
    y, _ = backend(system.expanded(), u[..., None], x0)
    assert (y - exact[..., None]).abs().max() < TOLERANCE * exact.abs().max()


def test_what_the_backend_does_not_sample():
    backend, (system, u, _) = scans.get("triton").build(), sampled()
    assert not backend.fuses(*sampled(torch.float64)[:2])
    assert not backend.fuses(system, u.double())
    assert not backend.fuses(system, u[:, :0])
    own = system.B.expand(-1, -1, 3, -1, -1)
    assert not backend.fuses(dataclasses.replace(system, B=own), u)
    wide = {k: torch.ones(1, 5, 1, *size) for k, size in (("B", (65, 1)), ("C", (1, 65)))}
    assert not backend.fuses(sampled(lam=torch.ones(1, 1, 3, 65), **wide)[0], u)
    changing = system.lam.expand(1, 5, -1, -1)
    assert not backend.fuses(dataclasses.replace(system, lam=changing), u)
