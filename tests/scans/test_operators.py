"""The registered operators: derivatives of every order and mode, vmap, and fake kernels."""

from __future__ import annotations

import functools
import sys

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.utils import _pytree as pytree

from ssmbench.scans import (
    native,
    sampling,  # noqa: F401 - registers its operators
)
from ssmbench.scans.dense_states import dense_states
from ssmbench.scans.native import library
from ssmbench.systems import Rule
from tests.scans import by_definition

compiled = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native kernels: {native.unavailable_reason()}"
)
B, L, H, N = 2, 3, 3, 2
WIDE = torch.complex128


# --- cases ----------------------------------------------------------------------------------------


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype) / 2


def linear_scan_case(dtype, varies, reverse):
    inputs = (
        (numbers(B, L, N, dtype=dtype) if varies else numbers(N, dtype=dtype)),
        *(numbers(*shape, dtype=dtype) for shape in ((B, L, N), (B, N))),
    )
    found = functools.partial(native.linear_scan, reverse=reverse)
    return found, functools.partial(by_definition.linear_scan, reverse=reverse), inputs


def fused_layer_case(with_start):
    inputs = numbers(B, L, H), *(numbers(H, N, dtype=WIDE) for _ in range(3)), numbers(H)
    start = (numbers(B, H, N, dtype=WIDE),) if with_start else ()
    return native.fused_layer, by_definition.fused_layer, (*inputs, *start)


def dense_layer_case():
    shapes = (B, L, 2), (N, N), (N, 2), (3, N), (3, 2), (B, N)
    return native.dense_layer, by_definition.dense_layer, tuple(numbers(*s) for s in shapes)


def dense_states_case():
    def definition(A, drive, start):
        return by_definition.states(lambda _, x: x @ A.mT, drive, start)

    return dense_states, definition, (numbers(1, N, N), numbers(B, L, 2, N), numbers(B, 2, N))


CASES = {
    **{
        f"linear_scan {dtype} varies={varies} reverse={reverse}": functools.partial(
            linear_scan_case, dtype, varies, reverse
        )
        for dtype in (torch.float64, WIDE)
        for varies in (False, True)
        for reverse in (False, True)
    },
    "fused_layer": functools.partial(fused_layer_case, False),
    "fused_layer from x0": functools.partial(fused_layer_case, True),
    "dense_layer": dense_layer_case,
    "dense_states": dense_states_case,
}


@pytest.fixture(params=CASES)
def case(request):
    """An operator, its definition, and inputs."""
    torch.manual_seed(0)
    return CASES[request.param]()


def leaves_of(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.clone().requires_grad_() for x in inputs)


# --- derivatives ----------------------------------------------------------------------------------


@compiled
def test_first_derivatives(case):
    found, _, inputs = case
    assert gradcheck(found, leaves_of(inputs), check_forward_ad=True, check_batched_grad=True)


@compiled
def test_second_derivatives(case):
    found, _, inputs = case
    options = {"check_fwd_over_rev": True, "check_rev_over_rev": True}
    assert gradgradcheck(found, leaves_of(inputs), **options)


@compiled
def test_second_derivatives_where_the_gradient_of_the_outputs_is_a_constant(case):
    """``once_differentiable`` lets these pass as constants, and Hessians come out wrong."""
    found, definition, inputs = case
    results = []
    for function in (found, definition):
        leaves = leaves_of(inputs)
        first = torch.autograd.grad(sum_of(function(*leaves)), leaves, create_graph=True)
        total = sum(sum_of(g * g) for g in first)
        results.append(torch.autograd.grad(total, leaves))
    assert_equal(*results)


def sum_of(outputs) -> Tensor:
    return sum((x * (1 - 0.5j)).real.sum() for x in pytree.tree_leaves(outputs))


def energy(function):
    """A real result with second derivatives of its own."""

    def run(*inputs):
        outputs = pytree.tree_leaves(function(*inputs))
        real = [torch.view_as_real(x) if x.is_complex() else x for x in outputs]
        return sum(x.pow(3).sum() for x in real)

    return run


def assert_equal(found, expected) -> None:
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- torch.func -----------------------------------------------------------------------------------


def everything(inputs: tuple) -> tuple[int, ...]:
    return tuple(range(len(inputs)))


def gradient(function, inputs, _):
    return torch.func.grad(energy(function), everything(inputs))(*inputs)


def gradient_of_gradient(function, inputs, _):
    def squares(*given):
        return sum(g.abs().square().sum() for g in gradient(function, given, None))

    return torch.func.grad(squares, everything(inputs))(*inputs)


def forward(function, inputs, tangents):
    return torch.func.jvp(function, inputs, tangents)


def forward_over_reverse(function, inputs, tangents):
    return torch.func.jvp(lambda *x: gradient(function, x, None), inputs, tangents)


def reverse_over_forward(function, inputs, tangents):
    def along(*given):
        return torch.func.jvp(energy(function), given, tangents)[1]

    return torch.func.grad(along, everything(inputs))(*inputs)


def forward_over_forward(function, inputs, tangents):
    def along(*given):
        return torch.func.jvp(energy(function), given, tangents)[1]

    return torch.func.jvp(along, inputs, tangents)


def third(function, inputs, tangents):
    return torch.func.jvp(lambda *x: gradient_of_gradient(function, x, None), inputs, tangents)


TRANSFORMS = (
    gradient,
    gradient_of_gradient,
    forward,
    forward_over_reverse,
    reverse_over_forward,
    forward_over_forward,
    third,
)


@compiled
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
def test_transforms(case, transform):
    found, definition, inputs = case
    tangents = tuple(torch.randn_like(x) for x in inputs)
    assert_equal(transform(found, inputs, tangents), transform(definition, inputs, tangents))


def mapped(count: int) -> list[tuple[int | None, ...]]:
    """Dimensions that are mapped: of all inputs, the first or the last, and of each alone."""
    alone = [tuple(0 if k == which else None for k in range(count)) for which in range(count)]
    return [(0,) * count, (-1,) * count, *alone]


@compiled
def test_vmap(case):
    """With gradients inside, outside, and tangents inside."""
    found, definition, inputs = case
    for dims in mapped(len(inputs)):
        pairs = list(zip(inputs, dims, strict=True))
        stacked = tuple(x if d is None else torch.stack([x, 2 * x, -x], d) for x, d in pairs)
        tangents = tuple(torch.ones_like(x) for x in inputs)
        results = [mapped_results(f, dims, stacked, tangents) for f in (found, definition)]
        assert_equal(*results)


def mapped_results(function, dims, stacked, tangents):
    mapped_energy = torch.vmap(energy(function), dims)
    return (
        torch.vmap(function, dims)(*stacked),
        torch.vmap(lambda *x: gradient(function, x, None), dims)(*stacked),
        torch.vmap(lambda *x: forward(function, x, tangents), dims)(*stacked),
        torch.func.grad(lambda *x: mapped_energy(*x).sum(), everything(stacked))(*stacked),
    )


@compiled
def test_hessian_of_real_inputs():
    """By both modes, and by ``torch.autograd.functional``."""
    torch.manual_seed(0)
    for make in (
        functools.partial(linear_scan_case, torch.float64, False, False),
        dense_layer_case,
    ):
        found, definition, inputs = make()
        argnums = everything(inputs)
        expected = torch.func.jacrev(torch.func.jacrev(energy(definition), argnums), argnums)(
            *inputs
        )
        assert_equal(torch.func.hessian(energy(found), argnums)(*inputs), expected)
        assert_equal(torch.autograd.functional.hessian(energy(found), inputs), expected)


# --- fake kernels ---------------------------------------------------------------------------------


def samples() -> dict[str, list[tuple]]:
    """Inputs of every operator of the C kernels, by its name."""
    torch.manual_seed(0)
    scans, backwards = [], []
    for dtype in (torch.float32, WIDE):
        for varies in (False, True):
            a = numbers(B, L, N, dtype=dtype) if varies else numbers(N, dtype=dtype)
            b, x0 = numbers(B, L, N, dtype=dtype), numbers(B, N, dtype=dtype)
            scans.append((*leaves_of((a, b, x0)), varies))
            backwards.append((*leaves_of((a, x0, b, b.clone())), varies))
    bank = [numbers(B, L, H), *(numbers(H, N, dtype=WIDE) for _ in range(3)), numbers(H)]
    bank, start = leaves_of(tuple(bank)), *leaves_of((numbers(B, H, N, dtype=WIDE),))
    chunk_starts = torch.ops.ssmbench.fused_layer(*bank, start, True)[2].detach()
    after = numbers(B, L, H), numbers(B, H, N, dtype=WIDE)
    dense, states = leaves_of(dense_layer_case()[2]), leaves_of(dense_states_case()[2])
    given = numbers(B, L, 3), numbers(B, N)
    places = (B, 1, 2)
    delta = [numbers(*places, size) for size in (3, N, N, 1, 4)]
    delta = leaves_of((*delta, numbers(B, 2, N, 3)))
    saved = torch.ops.ssmbench.delta_layer(*delta, True)[2].detach()
    results = numbers(B, 1, 2, 3), numbers(B, 2, N, 3)
    row = numbers(B, L, 1, N)
    modes = leaves_of((numbers(B, L, H), numbers(B, L, H), numbers(H, N), row, row.clone()))
    modes = (*modes, *leaves_of((numbers(H), numbers(B, H, N))))
    form = (1, 0.0, 0.0, False, True)
    tables = leaves_of(tuple(numbers(B, L, H, N) for _ in range(3)))
    given_form = (modes[0], None, *tables, modes[0].detach(), None, 0, 0.0, 0.0, False, False)
    kept = torch.ops.ssmbench.selective_layer(*modes, *form, True)[2].detach()
    outcomes = leaves_of((numbers(B, L, H), numbers(B, H, N)))
    system = leaves_of((numbers(H, N, dtype=WIDE), numbers(H, N, 1, dtype=WIDE), numbers(H).abs()))
    rule = Rule.tustin.value, 0.5, 0.0
    found = torch.ops.ssmbench.sample_modes(*system, *rule)
    changes = leaves_of(tuple(torch.randn_like(x) for x in found[:4]))
    return {
        "sample_modes": [(*system, *rule)],
        "sample_modes_backward": [(*system, found[4].detach(), *changes, *rule)],
        "selective_layer": [(*modes, *form, True), (*modes, *form, False), (*given_form, True)],
        "selective_layer_backward": [(*modes, *form, kept, *outcomes)],
        "delta_layer": [(*delta, True), (*delta, False)],
        "delta_layer_backward": [(*delta, saved, *leaves_of(results))],
        "linear_scan": scans,
        "linear_scan_backward": backwards,
        "fused_layer": [(*bank, start, True), (*bank, None, False)],
        "fused_layer_backward": [(*bank, start, chunk_starts, *leaves_of(after))],
        "dense_states": [(*states, False), (*states, True)],
        "dense_layer": [(*dense, True), (*dense, False)],
        "dense_layer_backward": [(*dense, numbers(B, L, N), *leaves_of(given))],
    }


@compiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", samples() if native.unavailable_reason() is None else [])
def test_opcheck(name):
    for inputs in samples()[name]:
        torch.library.opcheck(getattr(torch.ops.ssmbench, name), inputs)


@compiled
def test_every_operator_is_checked():
    """Triton's have no kernels to run here: the interpreter's tests have their derivatives."""
    names = {name.removeprefix("ssmbench::") for name in torch._C._dispatch_get_all_op_names()}
    ours = {n for n in names if hasattr(torch.ops.ssmbench, n) and not n.startswith("triton")}
    assert ours == set(samples())


@compiled
def test_gradients_do_not_need_what_the_forward_pass_kept():
    """States that were not kept (in inference, under vmap) are made again."""
    for name, made_again in (
        ("fused_layer_backward", 6),
        ("dense_layer_backward", 6),
        ("delta_layer_backward", 6),
        ("selective_layer_backward", 12),
    ):
        inputs = list(samples()[name][0])
        if name.startswith("dense"):  # the states of these inputs, and not any
            inputs[6] = torch.ops.ssmbench.dense_layer(*inputs[:6], True)[2].detach()
        operator = getattr(torch.ops.ssmbench, name)
        expected = operator(*inputs)
        inputs[made_again] = inputs[made_again].new_empty(0)
        assert_equal(operator(*inputs), expected)


@compiled
def test_kernels_see_no_fake_tensor_and_no_conjugation_that_is_only_noted_down():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.zeros(3)
    for tensor in (fake, torch.zeros(3, device="meta"), torch.zeros(3, dtype=WIDE).conj()):
        with pytest.raises(ValueError, match="native scan kernels need"):
            library.call("linear_scan_real_float", 1, 1, [tensor])


@pytest.mark.parametrize("compiled_here", [True, False])
def test_conjugated_inputs(compiled_here, monkeypatch):
    """Step by step, too, where there are no kernels."""
    if not compiled_here:
        for name in ("linear_scan", "dense", "delta"):
            module = sys.modules[f"ssmbench.scans.native.{name}"]
            monkeypatch.setattr(module, "unavailable_reason", lambda: "no compiler")
    torch.manual_seed(0)
    found, definition, inputs = linear_scan_case(WIDE, False, True)
    inputs = tuple(x.conj() for x in inputs)
    assert_equal(gradient(found, inputs, None), gradient(definition, inputs, None))
    found, definition, inputs = dense_layer_case()
    assert_equal(gradient(found, inputs, None), gradient(definition, inputs, None))
