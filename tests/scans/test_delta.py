"""The delta rule: every backend against its matrices, in chunks, without kernels, and refused."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmbench import registry
from ssmbench.errors import ShapeError, UsageError
from ssmbench.registry import NoOptions
from ssmbench.scans import native
from ssmbench.scans.base import ScanBackend, scan_by_parts
from ssmbench.scans.delta import delta_layer, delta_states
from ssmbench.systems import TimeVaryingDelta
from ssmbench.testing import example_delta_systems
from tests.scans import by_definition

BACKENDS = ("reference", "cpu", "chunked", "auto")
compiled = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native kernels: {native.unavailable_reason()}"
)


def examples(length: int = 40, dtype: torch.dtype = torch.float64) -> list[TimeVaryingDelta]:
    torch.manual_seed(1)
    return [s.map(lambda t: t.to(dtype)) for s in example_delta_systems(2, length)]


def signal(system: TimeVaryingDelta) -> tuple[Tensor, Tensor]:
    """u (B, L, H, 1) and x0 (B, H, N)."""
    u = torch.randn(system.batch, system.length, system.heads, 1, dtype=system.key.dtype)
    return u, torch.randn(system.batch, system.heads, system.states, dtype=system.key.dtype)


def results(layer, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The outputs, and the gradients of every input for fixed weights of them."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = layer(*leaves)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in outputs]
    return [*outputs, *torch.autograd.grad(outputs, leaves, weights)]


@compiled
@given(
    states=st.integers(1, 37),
    width=st.integers(1, 35),
    length=st.integers(1, 70),
    batch=st.integers(1, 2),
    groups=st.integers(1, 2),
    one_decay=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_kernels_and_every_gradient(states, width, length, batch, groups, one_decay):
    torch.manual_seed(states + 40 * length)
    places = (batch, length, groups)
    sizes = (width, states, states, 1 if one_decay else states, 4)
    inputs = [torch.randn(*places, size, dtype=torch.float64) for size in sizes]
    inputs[1:3] = [torch.nn.functional.normalize(x, dim=-1) for x in inputs[1:3]]
    inputs[3:] = [torch.sigmoid(x) for x in inputs[3:]]
    start = torch.randn(batch, groups, states, width, dtype=torch.float64)
    found = results(native.delta_layer, (*inputs, start))
    expected = results(by_definition.delta_layer, (*inputs, start))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def small(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Inputs of a layer with B, L, G, P, N = 1, 3, 1, 2, 2 and one decay."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, 3, 1, size, dtype=dtype) / 2 for size in (2, 2, 2, 1, 4)]
    return [*inputs, torch.randn(1, 1, 2, 2, dtype=dtype)]


@compiled
def test_gradcheck():
    leaves = [x.requires_grad_() for x in small()]
    assert torch.autograd.gradcheck(native.delta_layer, leaves, check_batched_grad=True)


def energy(layer, inputs) -> Tensor:
    return sum(x.pow(3).sum() for x in layer(*inputs))


@compiled
def test_second_derivatives():
    every = tuple(range(6))

    def squares(layer, inputs):
        first = torch.func.grad(lambda *x: energy(layer, x), every)(*inputs)
        return sum(g.square().sum() for g in first)

    found, expected = (
        torch.func.grad(lambda *x, layer=layer: squares(layer, x), every)(*small())
        for layer in (native.delta_layer, by_definition.delta_layer)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@compiled
@pytest.mark.parametrize("mapped", [(0,) * 6, (0, *[None] * 5), (None, 0, *[None] * 4)])
def test_vmap_with_gradients_inside(mapped):
    inputs = [
        x if dim is None else torch.stack([x, 2 * x, -x])
        for x, dim in zip(small(), mapped, strict=True)
    ]
    found, expected = (
        torch.vmap(torch.func.grad(lambda *x, layer=layer: energy(layer, x), (0, 1, 5)), mapped)(
            *inputs
        )
        for layer in (native.delta_layer, by_definition.delta_layer)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@compiled
def test_forward_mode_is_refused():
    inputs = tuple(small())
    with pytest.raises(UsageError, match="no derivatives in forward mode"):
        torch.func.jvp(native.delta_layer, inputs, inputs)


@pytest.mark.parametrize("case", range(2))
@pytest.mark.parametrize("name", BACKENDS)
def test_backends_agree_with_the_matrices(name, case):
    system = examples()[case]
    u, x0 = signal(system)
    rows = u[..., 0].unflatten(-1, (system.groups, system.width))
    start = x0.unflatten(1, (system.groups, system.width)).mT
    y, final = by_definition.delta_layer(
        rows, system.key, system.query, system.decay, system.gates(), start
    )
    found, last = registry.scans.get(name).build()(system, u, x0)
    torch.testing.assert_close(found[..., 0], y.flatten(2))
    torch.testing.assert_close(last, final.mT.flatten(1, 2))


@pytest.mark.parametrize("name", BACKENDS)
def test_pieces_are_the_whole(name):
    system = examples(23, torch.float32)[0]
    u, state = signal(system)
    backend = registry.scans.get(name).build()
    y, final = backend(system, u, state)
    outputs = []
    for piece, part in zip(system.split(7), u.split(7, 1), strict=True):
        now, state = backend(piece, part, state)
        outputs.append(now)
    torch.testing.assert_close(torch.cat(outputs, 1), y)
    torch.testing.assert_close(state, final)


@pytest.mark.parametrize("case", range(2))
def test_frozen_at_a_step_it_has_that_steps_matrices(case):
    """The bank's step from any state is the scan's."""
    system = examples(3)[case]
    u, x0 = signal(system)
    y, after = registry.scans.get("reference").build()(system.during([1]), u[:, 1:2], x0)
    for b in range(system.batch):
        bank = system.at(b, 1)
        assert bank.heads == system.groups
        for head in range(system.heads):
            one, state = bank.head(head // system.width), x0[b, head]
            x, v = one.A[0] @ state + one.B[0] @ u[b, 1, head], u[b, 1, head]
            torch.testing.assert_close(after[b, head], x)
            torch.testing.assert_close(y[b, 0, head], one.C[0] @ state + one.D[0] @ v)


def test_states_before_each_step():
    system = examples(9)[0]
    u, x0 = signal(system)
    backend, states = registry.scans.get("reference").build(), delta_states(system, u, x0)
    for k in (0, 1, 5):
        reached = x0 if k == 0 else backend(system.during(slice(k)), u[:, :k], x0)[1]
        torch.testing.assert_close(states[:, k], reached)


def test_without_kernels_it_goes_step_by_step(monkeypatch):
    module = sys.modules["ssmbench.scans.native.delta"]
    monkeypatch.setattr(module, "unavailable_reason", lambda: "no compiler")
    places, size = (2, 5, 2), 3
    inputs = [torch.randn(*places, n, dtype=torch.float64) for n in (4, size, size, 1, 4)]
    inputs.append(torch.randn(2, 2, size, 4, dtype=torch.float64))
    pairs = zip(results(native.delta_layer, inputs), results(delta_layer, inputs), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)


def test_the_backward_pass_keeps_a_thirty_second_of_the_states():
    inputs = [torch.randn(1, 64, 1, n) for n in (16, 8, 8, 1, 4)]
    kept = torch.ops.ssmbench.delta_layer(*inputs, torch.zeros(1, 1, 8, 16), True)[2]
    assert kept.numel() * 32 == 64 * 8 * 16


def test_a_backend_that_does_not_name_it_is_refused():
    class Diagonal(ScanBackend):
        def __call__(self, system, u, x0=None):
            raise AssertionError("not asked")

    system = examples()[0]
    backend = Diagonal(NoOptions())
    assert "this is a TimeVaryingDelta" in str(backend.refusal(system, torch.device("cpu")))
    with pytest.raises(UsageError, match=r"scan 'Diagonal' cannot run this: it runs .*Diagonal"):
        scan_by_parts(backend, system, *signal(system))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": (2, 40, 3)}, r"needs key \(B, L, G, N\)"),
        ({"query": (2, 40, 2, 4)}, r"\.query has shape"),
        ({"decay": (2, 40, 2, 2)}, r"\.decay has shape .* must be \(2, 40, 2, 5\)"),
        ({"write": (2, 40, 1)}, r"\.write has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    system = examples()[0]
    fields = {**system.tensors(), **{k: torch.zeros(s) for k, s in change.items()}}
    with pytest.raises(ShapeError, match=says):
        TimeVaryingDelta(**fields, width=3)


def test_complex_numbers_and_empty_groups_are_refused():
    fields = examples()[0].tensors()
    with pytest.raises(ShapeError, match="write is complex"):
        TimeVaryingDelta(**{**fields, "write": fields["write"] + 0j})
    with pytest.raises(ShapeError, match="width must be at least 1"):
        TimeVaryingDelta(**fields, width=0)
