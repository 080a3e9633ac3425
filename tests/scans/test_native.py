"""The C kernels: compiled where there is a compiler, exact, and not needed where there is none."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.scans import cpu, native
from ssmbench.scans.native import library
from ssmbench.systems import DiscreteDiagonal
from ssmbench.testing import check_scan, example_systems
from tests.scans import by_definition

compiled = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native kernels: {native.unavailable_reason()}"
)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
def test_a_machine_with_a_compiler_has_the_kernels():
    assert native.unavailable_reason() is None


@compiled
@given(
    states=st.integers(1, 140),
    length=st.integers(1, 140),
    batch=st.integers(1, 3),
    varies=st.booleans(),
    reverse=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
)
@settings(max_examples=60, deadline=None)
def test_linear_scan_and_every_gradient(states, length, batch, varies, reverse, dtype):
    torch.manual_seed(states + 200 * length)
    a = torch.randn((batch, length, states) if varies else (states,), dtype=dtype)
    a = (a / a.abs() * torch.rand_like(a.real)).requires_grad_()
    b = torch.randn(batch, length, states, dtype=dtype, requires_grad=True)
    x0 = torch.randn(batch, states, dtype=dtype, requires_grad=True)
    weight = torch.randn(batch, length, states, dtype=dtype)
    results = []
    for scan in (
        lambda *given: native.linear_scan(*given, reverse=reverse),
        lambda *given: by_definition.linear_scan(*given, reverse),
    ):
        s = scan(a, b, x0)
        gradients = torch.autograd.grad((s * weight.conj()).real.sum(), (a, b, x0))
        results.append((s, *gradients))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@compiled
@given(
    states=st.integers(1, 140),
    length=st.integers(1, 60),
    batch=st.integers(1, 6),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_dense_layer_and_every_gradient(states, length, batch, inputs, outputs):
    torch.manual_seed(states + 200 * length)
    shapes = [(batch, length, inputs), (states, inputs), (outputs, states), (outputs, inputs)]
    u, B, C, D = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    A = torch.linalg.qr(torch.randn(states, states, dtype=torch.float64)).Q.requires_grad_()
    x0 = torch.randn(batch, states, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(batch, length, outputs, dtype=torch.float64), torch.randn_like(x0)
    leaves, results = (u, A, B, C, D, x0), []
    for outcome in (native.dense_layer(*leaves), by_definition.dense_layer(*leaves)):
        total = sum((value * w).sum() for value, w in zip(outcome, weights, strict=True))
        results.append((*outcome, *torch.autograd.grad(total, leaves)))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_linear_scan_in_single_precision(dtype):
    torch.manual_seed(0)
    a = torch.randn(40, dtype=dtype)
    a = a / a.abs() * 0.99
    b, x0 = torch.randn(2, 500, 40, dtype=dtype), torch.randn(2, 40, dtype=dtype)
    expected = by_definition.linear_scan(a, b, x0)
    error = (native.linear_scan(a, b, x0) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@compiled
def test_threads_change_nothing():
    torch.manual_seed(0)
    system = registry.scans.get("cpu").build()
    lam = torch.polar(torch.rand(40, 8), torch.randn(40, 8))
    one = torch.ones(40, 8, 1, dtype=torch.complex64)
    bank = DiscreteDiagonal(
        lam=lam, B=one, C=one.transpose(1, 2), D=torch.ones(40, 1, 1), conjugate=True
    ).map(lambda t: t.requires_grad_())
    u = torch.randn(5, 999, 40, 1)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y, _ = system(bank, u)
            gradients = torch.autograd.grad(y.square().sum(), list(bank.tensors().values()))
            results.append((y, *gradients))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@compiled
def test_unaligned_views_are_refused_not_misread():
    with pytest.raises(ValueError, match="contiguous"):
        library.call("linear_scan_real_float", 1, 1, [torch.zeros(4, 4).T])


def test_without_kernels_the_chunked_scan_serves(monkeypatch):
    monkeypatch.setattr(cpu.native, "unavailable_reason", lambda: "not compiled")
    monkeypatch.setattr(
        cpu.native, "fused_layer", lambda *_: pytest.fail("the kernels are not there")
    )
    scan, reference = cpu.CPUScan(registry.NoOptions()), registry.scans.get("reference").build()
    torch.manual_seed(0)
    for system in example_systems():
        check_scan(scan, reference, system, 70)
