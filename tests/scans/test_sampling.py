"""Sampling in one operation, beside the discretizers' own operations."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.nn.sampling import discretized
from ssmbench.scans import native, sampling
from ssmbench.systems import ContinuousDiagonal, DiscreteDiagonal

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason="there was no C compiler at installation"
)

#: Every method with a rule, under its default options.
METHODS = [e.name for e in registry.discretizers if e.build().sampling() is not None]
WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def leaves(dtype: torch.dtype, heads: int = 3, inputs: int = 2, outputs: int = 1):
    """Integrators, slow, fast and undamped modes, unstable ones, and each side of |z| = 1/2."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=dtype)

    decay = -torch.tensor([0, 1e-9, 1e-4, 0.3, 0.6, 2, 40, -0.1, 0, 1], dtype=dtype.to_real())
    frequency = torch.tensor([0, 0.2, 9, 0.3, 0, 3, 1, 1, 5, 0.0], dtype=dtype.to_real())
    lam = torch.complex(decay, frequency) if dtype.is_complex else decay
    tensors = {
        "lam": lam.repeat(heads, 1),
        "B": normal(heads, 10, inputs),
        "C": normal(heads, outputs, 10),
        "D": normal(heads, outputs, inputs).real,
        "dt": torch.linspace(0.3, 1.1, heads, dtype=dtype.to_real()),
    }
    return {name: t.clone().requires_grad_() for name, t in tensors.items()}


def system_of(tensors: dict[str, Tensor]) -> ContinuousDiagonal:
    return ContinuousDiagonal(conjugate=tensors["lam"].is_complex(), **tensors)


def gradients(system: DiscreteDiagonal, tensors: dict[str, Tensor], **options) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    results = list(system.tensors().values())
    weights = [torch.randn(x.shape, generator=random, dtype=x.dtype) for x in results]
    return list(torch.autograd.grad(results, list(tensors.values()), weights, **options))


def assert_close(found, wanted, tolerance: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("dtype", [*WIDE, *WIDE.values()], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_systems_and_every_gradient_are_those_of_separate_operations(method, dtype):
    """To a few roundings of double precision, in which both compute; the poles in double precision
    to the slack by which they are moved off the unit circle."""
    discretizer, tensors = registry.discretizers.get(method).build(), leaves(dtype)
    system = system_of(tensors)
    found, wanted = sampling.sampled(system, discretizer.sampling()), discretizer(system)
    assert found.conjugate == wanted.conjugate
    tolerance = 1e-14 if dtype in WIDE.values() else 2**-23
    assert_close(found.tensors().values(), wanted.tensors().values(), tolerance)
    assert_close(gradients(found, tensors), gradients(wanted, tensors), tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives(method):
    discretizer, tensors = registry.discretizers.get(method).build(), leaves(torch.complex128)
    seconds = []
    for sample in (lambda s: sampling.sampled(s, discretizer.sampling()), discretizer):
        first = gradients(sample(system_of(tensors)), tensors, create_graph=True)
        total = torch.stack([g.abs().square().sum() for g in first]).sum()
        seconds.append(torch.autograd.grad(total, list(tensors.values()), allow_unused=True))
    kept = [k for k, g in enumerate(seconds[1]) if g is not None]
    found, wanted = ([gs[k] for k in kept] for gs in seconds)
    assert_close(found, wanted, 1e-12)


def test_batches_of_gradients():
    tensors = leaves(torch.complex64)
    system = sampling.sampled(
        system_of(tensors), registry.discretizers.get("zoh").build().sampling()
    )
    weights = torch.randn(4, *system.B.shape, dtype=system.B.dtype)
    inputs = [tensors[k] for k in ("lam", "B", "dt")]
    shared = {"retain_graph": True}
    found = torch.autograd.grad(system.B, inputs, weights, is_grads_batched=True, **shared)
    for k, one in enumerate(weights):
        wanted = torch.autograd.grad(system.B, inputs, one, **shared)
        assert_close([g[k] for g in found], wanted, 0)


def test_poles_stay_on_their_side_of_the_unit_circle():
    """1 - |lam| below what float32 resolves, on both sides."""
    decay = torch.logspace(-12, -5, 200)
    lam = torch.complex(torch.cat([-decay, decay]), torch.linspace(-3, 3, 400))[None]
    ones = torch.ones(1, 400, 1, dtype=lam.dtype)
    shared = {"B": ones, "C": ones.mT, "D": torch.zeros(1, 1, 1), "dt": torch.ones(1)}
    system = ContinuousDiagonal(lam=lam, conjugate=True, **shared)
    for method in ("zoh", "tustin", "bilinear"):
        rule = registry.discretizers.get(method).build().sampling()
        modulus = sampling.sampled(system, rule).lam.to(torch.complex128).abs()
        assert bool((modulus[:, :200] < 1).all() and (modulus[:, 200:] >= 1).all()), method


def assert_same(found, wanted) -> None:
    assert_close(found.tensors().values(), wanted.tensors().values(), 0)


def test_step_sizes_in_double_precision_are_not_rounded():
    tensors = leaves(torch.complex64)
    tensors["dt"] = torch.full((3,), 1 / 3, dtype=torch.float64)
    tensors["lam"] = tensors["lam"].detach() + 900j
    system, zoh = system_of(tensors), registry.discretizers.get("zoh").build()
    assert_same(discretized(system, zoh), zoh(system))


def test_what_does_not_suit_goes_by_separate_operations(monkeypatch):
    zoh, system = registry.discretizers.get("zoh").build(), system_of(leaves(torch.complex64))
    wanted = zoh(system)

    class Half(type(zoh)):
        def diagonal(self, system):
            return super().diagonal(dataclasses.replace(system, dt=system.dt / 2))

    halved = Half(zoh.config)
    assert_same(discretized(system, halved), halved(system))

    def refuse(*_):
        raise AssertionError("the operation was used")

    monkeypatch.setattr(sampling, "sampled", refuse)
    foh = registry.discretizers.get("foh").build()
    assert_same(discretized(system, foh), foh(system))

    def of_lam(lam: Tensor) -> Tensor:
        return discretized(dataclasses.replace(system, lam=lam), zoh).tensors()["lam"]

    lam = torch.func.jvp(of_lam, (system.lam,), (torch.ones_like(system.lam),))[0]
    assert torch.equal(lam, wanted.lam)
    with pytest.raises(AssertionError, match="was used"):
        discretized(system, zoh)
