"""Sampling, scan and read-out in one pass, against each of them by its definition."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmbench import registry
from ssmbench.bench.timing import kept_bytes
from ssmbench.discretizers.base import Discretizer
from ssmbench.discretizers.exact import ZeroOrderHold
from ssmbench.discretizers.runge_kutta import Hold
from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.scans import native
from ssmbench.scans.selective import Form, selective_layer
from ssmbench.systems import (
    ContinuousTimeVaryingDiagonal,
    ElementwiseRule,
    Readout,
    Rule,
    SampledModes,
    TimeVaryingDiagonal,
    after_input,
)
from ssmbench.testing import gradient_of_views
from tests.builders import build_layer
from tests.scans import by_definition

compiled = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native kernels: {native.unavailable_reason()}"
)


def methods() -> dict[str, Discretizer]:
    """Every discretizer with a rule, for an input that is held and for one that is a line."""
    found = {e.name: e.build() for e in registry.discretizers}
    for entry in registry.discretizers:
        if hasattr(entry.build().config, "hold"):
            options = dataclasses.replace(entry.build().config, hold=Hold.first)
            found[f"{entry.name}, first"] = entry.build(options)
    return {name: method for name, method in found.items() if method.sampling() is not None}


METHODS = methods()


def test_the_methods_that_are_fused():
    assert {"zoh", "tustin", "bilinear", "implicit_midpoint", "gbt"} < METHODS.keys()
    assert {"forward_euler", "backward_euler", "backward_euler, first"} < METHODS.keys()
    assert not {"rk4", "foh"} & METHODS.keys()


def system_of(
    length: int, heads: int, states: int, shared: bool, dtype: torch.dtype, **options
) -> ContinuousTimeVaryingDiagonal:
    """Two sequences; modes are slow, fast, undamped and (of the last head) an integrator's."""
    rows = (2, length, 1 if shared else heads, states)
    lam = -torch.exp(torch.randn(heads, states))
    lam[-1], lam[0, 0] = 0, -60
    system = ContinuousTimeVaryingDiagonal(
        lam=lam[None, None],
        B=torch.randn(*rows)[..., None],
        C=torch.randn(*rows)[..., None, :],
        D=torch.randn(heads, 1, 1),
        dt=torch.rand(2, length, heads) * 0.03 + 1e-3,
        **options,
    )
    return system.map(lambda t: t.to(dtype))


def results(run, system, u: Tensor, x0: Tensor | None) -> dict[str, Tensor]:
    """The outputs, and the gradients of every input for fixed weights of them."""
    system = system.map(lambda t: t.detach().requires_grad_())
    leaves = {**system.tensors(), "u": u.detach().requires_grad_()}
    if x0 is not None:
        leaves["x0"] = x0.detach().requires_grad_()
    y, final = run(system, leaves["u"], leaves.get("x0"))
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(t.shape, generator=generator).to(t.dtype) for t in (y, final)]
    gradients = torch.autograd.grad((y, final), list(leaves.values()), weights)
    named = zip(leaves, gradients, strict=True)
    return {"y": y, "final": final} | {k: gradient_of_views(g, leaves[k]) for k, g in named}


def in_parts(method: Discretizer, readout: Readout):
    """Sampled by the method's own formulas, then read, then scanned in a loop over the steps."""

    def run(system, u, x0):
        discrete = method(system)
        discrete = after_input(discrete) if readout is Readout.after else discrete
        start = u.new_zeros(len(u), system.heads, system.states) if x0 is None else x0
        y, final = by_definition.time_varying(discrete, u, start)
        return y.real, final.real

    return run


def at_once(method: Discretizer, readout: Readout, scan: str = "cpu"):
    rule = method.sampling()
    assert rule is not None

    def run(system, u, x0):
        backend, sampled = registry.scans.get(scan).build(), SampledModes.of(system, rule, readout)
        assert backend.fuses(sampled, u)
        return backend.scan_sampled(sampled, u, x0)

    return run


def check(method, readout, system, tolerance, start=True, oracle=None):
    u = torch.randn(2, system.length, system.heads, 1, dtype=system.D.dtype)
    x0 = torch.randn(2, system.heads, system.states, dtype=system.D.dtype) if start else None
    exact = (system.double(), u.double(), None if x0 is None else x0.double())
    expected = results(in_parts(oracle or method, readout), *exact)
    for key, found in results(at_once(method, readout), system, u, x0).items():
        scale = expected[key].abs().max().clamp_min(1e-6)
        error = (found - expected[key]).abs().max() / scale
        assert error < tolerance, f"{key}: relative error {error:.1e}"


@compiled
@given(
    name=st.sampled_from(sorted(METHODS)),
    readout=st.sampled_from(Readout),
    euler_input=st.booleans(),
    states=st.integers(1, 5),
    heads=st.integers(1, 19),
    length=st.sampled_from([1, 2, 31, 32, 33, 70]),
    shared=st.booleans(),
    start=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_method_and_every_gradient(
    name, readout, euler_input, states, heads, length, shared, start
):
    torch.manual_seed(states + 7 * heads + 100 * length)
    method = METHODS[name]
    euler_input = euler_input and method.sampling().keeps_outputs
    system = system_of(length, heads, states, shared, torch.float64, euler_input=euler_input)
    check(method, readout, system, 1e-11, start)


@compiled
@pytest.mark.parametrize("readout", Readout)
@pytest.mark.parametrize("name", ["zoh", "tustin", "gbt", "backward_euler"])
def test_single_precision(name, readout):
    torch.manual_seed(0)
    check(METHODS[name], readout, system_of(150, 20, 6, True, torch.float32), 3e-6)


@compiled
@pytest.mark.parametrize(
    "wrong",
    [
        ElementwiseRule(Rule.one_stage, alpha=0.501),
        ElementwiseRule(Rule.one_stage, alpha=0.5, c=0.5),
        ElementwiseRule(Rule.exponential),
        ElementwiseRule(Rule.tustin),
    ],
)
def test_a_wrong_rule_would_be_seen(wrong):
    """The checks here, and the conformance test that plugins get, fail for a rule that is not the
    method's."""

    class Lies(type(METHODS["bilinear"])):
        def elementwise(self):
            return wrong

    from ssmbench.testing.discretizers import check_elementwise

    method = Lies(METHODS["bilinear"].config)
    torch.manual_seed(0)
    system = system_of(40, 3, 2, True, torch.float64)
    with pytest.raises(AssertionError, match="relative error"):
        check(method, Readout.before, system, 1e-5, oracle=METHODS["bilinear"])
    with pytest.raises(AssertionError, match="elementwise rule"):
        check_elementwise(method)


def test_a_subclass_that_samples_otherwise_has_no_rule_until_it_says_so():
    class Slower(ZeroOrderHold):
        def diagonal(self, system):
            return super().diagonal(dataclasses.replace(system, dt=system.dt / 2))

    class Documented(ZeroOrderHold):
        pass

    assert Slower(None).sampling() is None
    assert Documented(None).sampling() == ElementwiseRule(Rule.exponential)


# --- the layer of tensors -------------------------------------------------------------------------


def small(form: Form, groups: int = 1) -> list[Tensor | None]:
    """Inputs with B, L, H, N = 1, 3, 4, 2."""
    torch.manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64) / 2

    rows = (1, 3, groups, 2)
    given = form.rule is None
    dt, lam = (None, numbers(*rows)) if given else (numbers(1, 3, 4).exp(), -numbers(4, 2).exp())
    D = numbers(1, 3, 4) if given else numbers(4)
    return [numbers(1, 3, 4), dt, lam, numbers(*rows), numbers(*rows), D, numbers(1, 4, 2)]


FORMS = [
    Form(),
    Form(after=True),
    Form(ElementwiseRule(Rule.exponential), after=True),
    Form(ElementwiseRule(Rule.one_stage, 0.6, 0.6)),
    Form(ElementwiseRule(Rule.tustin), after=True),
]


def function_of(layer, form: Form):
    """Of the tensors that there are."""

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        u, *rest = tensors
        return layer(u, *(rest if form.rule else (None, *rest)), form)

    return run


@compiled
@pytest.mark.parametrize(("form", "groups"), [*((f, 1) for f in FORMS), (Form(), 2), (Form(), 4)])
def test_gradcheck(form, groups):
    leaves = [x.requires_grad_() for x in small(form, groups) if x is not None]
    assert torch.autograd.gradcheck(function_of(native.selective_layer, form), leaves)


@compiled
@pytest.mark.parametrize("form", [FORMS[0], FORMS[2]])
def test_second_derivatives(form):
    found, expected = (
        second_derivatives(function_of(layer, form), small(form))
        for layer in (native.selective_layer, selective_layer)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def second_derivatives(layer, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    """Of the squares of the gradients of a sum of cubes."""
    leaves = [x.requires_grad_() for x in inputs if x is not None]
    energy = sum(y.pow(3).sum() for y in layer(*leaves))
    first = torch.autograd.grad(energy, leaves, create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)


@compiled
def test_any_strides():
    form = FORMS[2]
    inputs = small(form)
    strided = [torch.stack([x, -x], -1)[..., 0] for x in inputs]
    assert not any(x.is_contiguous() for x in strided)
    for one, other in zip(
        native.selective_layer(*strided, form), selective_layer(*inputs, form), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_without_kernels_it_is_the_definition(monkeypatch):
    module = sys.modules["ssmbench.scans.native.selective"]
    monkeypatch.setattr(module, "unavailable_reason", lambda: "no compiler")
    form = FORMS[3]
    leaves = [x.requires_grad_() for x in small(form)]
    for one, other in zip(
        native.selective_layer(*leaves, form), selective_layer(*leaves, form), strict=True
    ):
        torch.testing.assert_close(one, other)
        found, expected = (
            torch.autograd.grad(y.sum(), leaves, retain_graph=True, allow_unused=True)
            for y in (one, other)
        )
        for g, h in zip(found, expected, strict=True):
            torch.testing.assert_close(g, torch.zeros_like(g) if h is None else h)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exponential_is_within_two_roundings(dtype):
    """x0 = 1 and no input: the final state is e^(dt lam)."""
    lowest = -80 if dtype == torch.float32 else -700
    z = torch.cat([torch.linspace(lowest, 0, 4001), -torch.logspace(-12, 0, 999)]).to(dtype)
    zero, one = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.ones(1, 1, len(z), dtype=dtype)
    form = Form(ElementwiseRule(Rule.exponential))
    start, D = torch.ones(1, len(z), 1, dtype=dtype), torch.zeros(len(z), dtype=dtype)
    _, final = native.selective_layer(0 * one, one, z[:, None], zero, zero, D, start, form)
    exact = torch.exp(z.double())
    error = ((final[0, :, 0].double() - exact) / exact).abs().max()
    assert error < 2 * torch.finfo(dtype).eps


@compiled
def test_what_overflows_is_not_finite():
    form = Form(ElementwiseRule(Rule.exponential))
    one = torch.ones(1, 2, 1)
    for lam, finite in ((88.7, True), (88.75, False), (95.0, False), (float("nan"), False)):
        rate = torch.full((1, 1), lam)
        inputs = (one * 0, one, rate, one[..., None], one[..., None], one[0, 0])
        _, final = native.selective_layer(
            *(x[:, :1] if x.ndim > 2 else x for x in inputs), torch.ones(1, 1, 1), form
        )
        assert bool(torch.isfinite(final).all()) is finite


# --- layers ---------------------------------------------------------------------------------------


def layers(**options) -> tuple[SSMLayer, SSMLayer]:
    """A layer, and one with its parameters whose scan fuses nothing."""
    torch.manual_seed(0)
    fused = build_layer("selective", "zoh", d_model=6, **options)
    parts = build_layer("selective", "zoh", d_model=6, **options)
    parts.load_state_dict(fused.state_dict())
    parts.scan.fuses = lambda system, u: False
    return fused, parts


def test_half_precision_is_storage_only():
    one, other = layers()
    u = torch.randn(2, 40, 6, dtype=torch.bfloat16, requires_grad=True)
    wide = u.detach().float().requires_grad_()
    y = one(u)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, other(wide))
    (found,), (exact,) = (torch.autograd.grad(f(x).sum(), x) for f, x in ((one, u), (other, wide)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, exact.bfloat16())


def test_forward_mode_takes_the_separate_operations():
    one, other = layers()
    u, tangent = torch.randn(2, 2, 10, 6).unbind()
    (y, ty), (expected, texpected) = (
        torch.func.jvp(layer, (u,), (tangent,)) for layer in (one, other)
    )
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(ty, texpected)


@compiled
def test_a_method_without_a_rule_and_eulers_input_of_one_that_changes_the_output():
    u = torch.randn(1, 5, 4)
    layer = build_layer("selective", "rk4", d_model=4)
    torch.testing.assert_close(layer(u), layer.scan(layer.system_for(u), u[..., None])[0][..., 0])
    layer = build_layer("selective", "tustin", d_model=4)
    layer.parametrization.euler_input = True
    with pytest.raises(UsageError, match="choose a method that keeps C and D"):
        layer(u)


@compiled
def test_the_backward_pass_keeps_less_than_100_bytes_a_token_and_channel():
    layer = build_layer("selective", "zoh", d_model=64)
    u = torch.randn(2, 256, 64, requires_grad=True)
    per_number = kept_bytes(lambda: layer(u)) / u.numel()
    assert per_number < 30, f"{per_number:.0f} bytes"


@compiled
def test_discrete_systems_go_through_the_kernel():
    torch.manual_seed(0)
    shape = (2, 40, 3)
    system = TimeVaryingDiagonal(
        lam=torch.rand(*shape, 4),
        B=torch.randn(*shape, 4, 1),
        C=torch.randn(*shape, 1, 4),
        D=torch.randn(*shape, 1, 1),
    )
    u, x0 = torch.randn(*shape, 1), torch.randn(2, 3, 4)
    found = results(registry.scans.get("cpu").build(), system, u, x0)

    def exact(system, u, x0):
        return tuple(t.real for t in by_definition.time_varying(system, u, x0))

    for key, expected in results(exact, system.double(), u.double(), x0.double()).items():
        torch.testing.assert_close(found[key].double(), expected, rtol=1e-5, atol=1e-5)
