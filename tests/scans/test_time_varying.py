"""Every backend's scan of time-varying systems against a loop in complex128."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.scans.base import time_varying_scan
from ssmbench.systems import TimeVaryingDiagonal
from ssmbench.testing import example_time_varying_systems, gradient_of_views
from tests.scans import by_definition

CPU = torch.device("cpu")
CASES = range(5)


def examples(length: int = 23) -> list[TimeVaryingDiagonal]:
    torch.manual_seed(1)
    return example_time_varying_systems(2, length)


def backends() -> list[str]:
    """Those that can run here."""
    system = examples(1)[0]
    return [e.name for e in registry.scans if e.build().unsupported_reason(system, CPU) is None]


def results(scan, system: TimeVaryingDiagonal, u: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """y, the final state, and the gradients of every input for fixed weights of both."""
    system = system.map(lambda t: t.detach().requires_grad_())
    leaves = {**system.tensors(), "u": u.clone().requires_grad_()}
    leaves["x0"] = x0.clone().requires_grad_()
    y, final = scan(system, leaves["u"], leaves["x0"])
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(t.shape, dtype=torch.complex128, generator=generator) for t in (y, final)
    ]
    total = sum((w.conj() * t).real.sum() for w, t in zip(weights, (y, final), strict=True))
    gradients = torch.autograd.grad(total, list(leaves.values()))
    named = zip(leaves, gradients, strict=True)
    return {"y": y, "final": final} | {k: gradient_of_views(g, leaves[k]) for k, g in named}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", backends())
@pytest.mark.parametrize("double", [False, True])
def test_outputs_and_every_gradient(name, case, double):
    system = examples()[case]
    tolerance = 3e-6
    if double:
        system, tolerance = system.double(), 1e-12
    precision = torch.float64 if double else torch.float32
    u = torch.randn(2, system.length, system.heads, system.inputs, dtype=precision)
    x0 = torch.randn(2, system.heads, system.states, dtype=system.lam.dtype)
    found = results(registry.scans.get(name).build(), system, u, x0)
    for key, expected in results(by_definition.time_varying, system, u, x0).items():
        real = found[key] if found[key].is_complex() else found[key].to(expected.dtype)
        error = (real - expected).abs().max() / expected.abs().max()
        assert error < tolerance, f"{key}: relative error {error:.1e}"


@pytest.mark.parametrize("name", backends())
def test_real_systems_stay_real(name):
    system = examples()[2]
    y, final = registry.scans.get(name).build()(system, torch.randn(2, 23, 3, 1))
    assert (y.dtype, final.dtype) == (torch.float32, torch.float32)


def test_real_systems_are_scanned_as_real_numbers():
    seen = []

    def linear_scan(a, b, x0):
        seen.extend(t.dtype for t in (a, b, x0))
        return torch.zeros_like(b)

    time_varying_scan(examples()[2], torch.randn(2, 23, 3, 1), None, linear_scan)
    assert seen == [torch.float32] * 3


@pytest.mark.parametrize("name", backends())
def test_no_state_is_a_zero_state(name):
    backend, system = registry.scans.get(name).build(), examples()[0]
    u = torch.randn(2, 23, 3, 1)
    rest = torch.zeros(2, 3, 4, dtype=torch.complex64)
    assert torch.equal(backend(system, u)[0], backend(system, u, rest)[0])


@pytest.mark.skipif("triton" in backends(), reason="the interpreter runs on the CPU")
def test_triton_refuses_the_cpu():
    with pytest.raises(UsageError, match="scan 'triton' cannot run this"):
        registry.scans.get("triton").build()(examples()[0], torch.randn(2, 23, 3, 1))
