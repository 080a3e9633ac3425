"""The registered operators: derivatives of every order and mode, vmap, and tracing."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from ssmbench.scans import native

compiled = pytest.mark.skipif(
    native.why_missing() is not None, reason=f"native kernels: {native.why_missing()}"
)
B, L, H, N = 2, 3, 3, 2


def numbers(*shape, dtype=torch.float64):
    return (torch.randn(*shape, dtype=dtype) / 2).requires_grad_()


def linear_scan_case(dtype, varies, reverse):
    a = numbers(B, L, N, dtype=dtype) if varies else numbers(N, dtype=dtype)
    inputs = a, numbers(B, L, N, dtype=dtype), numbers(B, N, dtype=dtype)
    return (lambda *given: native.linear_scan(*given, reverse=reverse)), inputs


def fused_layer_case(with_start):
    wide = torch.complex128
    inputs = numbers(B, L, H), *(numbers(H, N, dtype=wide) for _ in range(3)), numbers(H)
    return native.fused_layer, (*inputs, numbers(B, H, N, dtype=wide)) if with_start else inputs


def dense_layer_case():
    shapes = (B, L, 2), (N, N), (N, 2), (3, N), (3, 2), (B, N)
    return native.dense_layer, tuple(numbers(*shape) for shape in shapes)


CASES = {
    **{
        f"linear_scan-{kind}-{'varying' if varies else 'constant'}-{way}": (
            linear_scan_case,
            dtype,
            varies,
            way == "reverse",
        )
        for kind, dtype in (("real", torch.float64), ("complex", torch.complex128))
        for varies in (False, True)
        for way in ("forward", "reverse")
    },
    "fused_layer": (fused_layer_case, False),
    "fused_layer-x0": (fused_layer_case, True),
    "dense_layer": (dense_layer_case,),
}


@pytest.fixture(params=CASES)
def case(request):
    """A function and inputs."""
    torch.manual_seed(0)
    make, *options = CASES[request.param]
    return make(*options)


@compiled
def test_first_derivatives(case):
    assert gradcheck(*case, check_forward_ad=True, check_batched_grad=True)


@compiled
def test_second_derivatives(case):
    assert gradgradcheck(*case, check_fwd_over_rev=True, check_rev_over_rev=True)
