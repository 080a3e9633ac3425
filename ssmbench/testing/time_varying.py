"""The conformance kit's part for time-varying systems and the parametrizations that give them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import ContinuousTimeVaryingDiagonal, TimeVaryingDiagonal

_LENGTH = 9
_TOLERANCE = 2e-5


def conform_time_varying(entry: Entry[Parametrization]) -> None:
    """A parametrization that needs the input: system type, channels, gradients; the system at a
    step from the input at that step alone; stability frozen in time; a scan in one go, by every
    backend, against one step after the other."""
    for d_model in (1, 4):
        module, u = entry.build(d_model=d_model), torch.randn(2, _LENGTH, d_model)
        _check_system(module, u, entry.name)
        _check_gradients(module, u, entry.name)
        _check_pointwise(module, u, entry.name)
        _check_scans(module, u, entry.name)
    for scale in (0.1, 1.0, 10.0):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, scale)
        _check_promises(module, scale * u, f"{entry.name} with parameters of scale {scale}")


def _check_system(module: Parametrization, u: Tensor, name: str) -> None:
    system = module(u)
    width = getattr(module, "d_model", None)
    assert width == u.shape[-1], f"{name}: needs the input, so it must set d_model; it is {width}"
    declared = module.system_type
    assert isinstance(system, declared), (
        f"{name}: declares {declared.__name__}, gives {type(system).__name__}"
    )
    assert (system.batch, system.length) == u.shape[:2], f"{name}: not the input's steps"
    for width in (system.inputs, system.outputs):
        assert system.heads * width == u.shape[-1], f"{name}: channels are not d_model"
    assert system.is_finite(), f"{name}: a system that is not finite right after construction"
    pairs = zip(system.tensors().values(), module(2 * u).tensors().values(), strict=True)
    fixed = all(torch.equal(one, other) for one, other in pairs)
    assert not fixed, f"{name}: needs the input, but does not use it"


def _check_gradients(module: Parametrization, u: Tensor, name: str) -> None:
    energy = sum(tensor.abs().square().sum() for tensor in module(u).tensors().values())
    energy.backward()
    for key, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"{name}: the system does not depend on {key}"
        assert torch.isfinite(gradient).all(), f"{name}: the gradient of {key} is not finite"


def _check_pointwise(module: Parametrization, u: Tensor, name: str) -> None:
    """What streams, and shares a sequence among ranks, relies on."""
    whole = module(u)
    for b, k in ((0, 0), (1, 4), (0, _LENGTH - 1)):
        alone = module(u[b : b + 1, k : k + 1]).at(0, 0).tensors()
        for key, tensor in whole.at(b, k).tensors().items():
            assert torch.allclose(tensor, alone[key], rtol=1e-4, atol=1e-6), (
                f"{name}: {key} at a step depends on other steps or sequences"
            )


@torch.no_grad()
def _check_scans(module: Parametrization, u: Tensor, name: str) -> None:
    system = module(u)
    if isinstance(system, ContinuousTimeVaryingDiagonal):
        system = registry.discretizers.get("zoh").build()(system)
    signal = u.unflatten(-1, (system.heads, system.inputs))
    expected = _stepwise(registry.scans.get("reference").build(), system, signal)
    for entry in registry.scans:
        backend: ScanBackend = entry.build()
        if backend.unsupported_reason(system, u.device) is None:
            y, _ = backend(system, signal)
            error = (y - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
            assert error < _TOLERANCE, f"{name}: {entry.name} scans it with an error of {error:.1e}"


def _stepwise(backend: ScanBackend, system: TimeVaryingDiagonal, u: Tensor) -> Tensor:
    outputs, state = [], None
    for k in range(system.length):
        y, state = backend(system.during([k]), u[:, k : k + 1], state)
        outputs.append(y)
    return torch.cat(outputs, 1)


@torch.no_grad()
def _check_promises(module: Parametrization, u: Tensor, name: str) -> None:
    bank, declared = module(u).bank().double(), module.declared_gain()
    if module.stable_by_construction:
        assert bank.is_stable(), f"{name}: declared stable by construction, but is not, frozen"
    if declared is not None:
        frozen = hinf_norm(bank).norm.max().item()
        assert frozen <= declared * (1 + 1e-4), (
            f"{name}: declares a gain of {declared:g}, but frozen in time it is {frozen:g}"
        )


def example_time_varying_systems(batch: int, length: int) -> list[TimeVaryingDiagonal]:
    """Five in float32: pairs, real and complex, of one channel and several, with B, C and D shared
    and not. Some lam are zero."""
    single, several = (3, 4, 1, 1), (1, 5, 3, 2)
    pairs = [_random(batch, length, *sizes, torch.complex64) for sizes in (single, several)]
    real = _random(batch, length, *single, torch.float32)
    shared = _random(batch, length, *several, torch.float32)
    views = {"C": real.C[:, :, :1].expand_as(real.C), "D": real.D[0, 0]}
    return [
        *(dataclasses.replace(system, conjugate=True) for system in pairs),
        dataclasses.replace(real, **views),
        dataclasses.replace(shared, B=shared.B[:1, :1].expand_as(shared.B)),
        _random(batch, length, *single, torch.complex64),
    ]


def _random(
    batch: int, length: int, H: int, N: int, m: int, p: int, dtype: torch.dtype
) -> TimeVaryingDiagonal:
    place = (batch, length, H)
    direction = torch.randn(*place, N, dtype=dtype)
    modulus = 0.5 + 0.499 * torch.rand(*place, N)
    modulus[..., 0] = 0
    return TimeVaryingDiagonal(
        lam=modulus * direction / direction.abs(),
        B=torch.randn(*place, N, m, dtype=dtype),
        C=torch.randn(*place, p, N, dtype=dtype),
        D=torch.randn(*place, p, m),
    )


def gradient_of_views(gradient: Tensor, leaf: Tensor) -> Tensor:
    """The gradient of the numbers that a leaf shows: it is split at will among views of one."""
    for axis, (stride, size) in enumerate(zip(leaf.stride(), leaf.shape, strict=True)):
        gradient = gradient.sum(axis, keepdim=True) if stride == 0 and size > 1 else gradient
    return gradient
