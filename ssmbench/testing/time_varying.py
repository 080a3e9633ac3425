"""The conformance kit's part for time-varying systems and the parametrizations that give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_channels, check_system
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import ContinuousTimeVaryingDiagonal, TimeVaryingDiagonal
from ssmbench.testing.modules import check_parameter_gradients, randomise, total
from ssmbench.testing.report import Subject, skip_if_none, skip_unless

_LENGTH = 9
_TOLERANCE = 2e-5


def builds(subject: Subject) -> None:
    """It can be built for a layer of one channel and of several, with finite parameters of torch's
    default precision, and knows its width.
    """
    for module, u in _cases(subject):
        check_built(subject.entry, module, Parametrization)
        width = getattr(module, "d_model", None)
        assert width == u.shape[-1], f"is time-varying, so it must set d_model; it is {width}"


def returns_the_declared_system(subject: Subject) -> None:
    """A finite system of the declared type for every step of every sequence."""
    for module, u in _cases(subject):
        system = module(u)
        check_system(module, system, None)
        assert (system.batch, system.length) == u.shape[:2], "not the input's sequences and steps"


def heads_make_up_the_channels(subject: Subject) -> None:
    """The heads' inputs together, and their outputs, are the layer's d_model channels."""
    for module, u in _cases(subject):
        check_channels(module, module(u), u.shape[-1])


def follows_its_input(subject: Subject) -> None:
    """Another input gives another system."""
    for module, u in _cases(subject):
        pairs = zip(module(u).tensors().values(), module(2 * u).tensors().values(), strict=True)
        fixed = all(torch.equal(one, other) for one, other in pairs)
        assert not fixed, "declares a time-varying system, but does not use the input"


def every_parameter_has_a_finite_gradient(subject: Subject) -> None:
    """The system depends on every parameter, with a finite gradient."""
    for module, u in _cases(subject):
        energy = total(tensor.abs().square().sum() for tensor in module(u).tensors().values())
        energy.backward()
        check_parameter_gradients(module)


def each_step_for_itself(subject: Subject) -> None:
    """The matrices at a step follow from the input at that step alone: what streams, and shares a
    sequence among ranks, relies on that.
    """
    for module, u in _cases(subject):
        _check_pointwise(module, u)


def every_scan_agrees_with_single_steps(subject: Subject) -> None:
    """Every backend's scan in one go, against one step after the other."""
    for module, u in _cases(subject):
        _check_scans(module, u)


def stable_as_declared(subject: Subject) -> None:
    """Frozen in time, for random parameters of several scales, where that is declared."""
    for module, u, scale in _randomised(subject):
        skip_unless(module.stable_by_construction, "declares no stability by construction")
        with torch.no_grad():
            stable = module(u).bank().double().is_stable()
        assert stable, f"declared stable by construction, but is not, frozen, at scale {scale}"


def gain_as_declared(subject: Subject) -> None:
    """Frozen in time, for random parameters of several scales, where a gain is declared."""
    for module, u, _ in _randomised(subject):
        declared = skip_if_none(module.declared_gain(), "declares no gain")
        with torch.no_grad():
            frozen = hinf_norm(module(u).bank().double()).norm.max().item()
        assert frozen <= declared * (1 + TOLERANCE), (
            f"declares a gain of {declared:g}, but frozen in time it is {frozen:g}"
        )


CHECKS = (
    builds,
    returns_the_declared_system,
    heads_make_up_the_channels,
    follows_its_input,
    every_parameter_has_a_finite_gradient,
    each_step_for_itself,
    every_scan_agrees_with_single_steps,
    stable_as_declared,
    gain_as_declared,
)


def _cases(subject: Subject) -> Iterator[tuple[Parametrization, Tensor]]:
    """Modules of one channel and of several, each with an input."""
    for d_model in (1, 4):
        yield subject.build(d_model=d_model), torch.randn(2, _LENGTH, d_model)


def _randomised(subject: Subject) -> Iterator[tuple[Parametrization, Tensor, float]]:
    for scale in (0.1, 1.0, 10.0):
        module, u = subject.build(d_model=4), scale * torch.randn(2, _LENGTH, 4)
        randomise(module, scale)
        yield module, u, scale


def _check_pointwise(module: Parametrization, u: Tensor) -> None:
    whole = module(u)
    for b, k in ((0, 0), (1, 4), (0, _LENGTH - 1)):
        alone = module(u[b : b + 1, k : k + 1]).at(0, 0).tensors()
        for key, tensor in whole.at(b, k).tensors().items():
            assert torch.allclose(tensor, alone[key], rtol=1e-4, atol=1e-6), (
                f"{key} at a step depends on other steps or sequences"
            )


@torch.no_grad()
def _check_scans(module: Parametrization, u: Tensor) -> None:
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
            assert error < _TOLERANCE, f"{entry.name} scans it with an error of {error:.1e}"


def _stepwise(backend: ScanBackend, system: TimeVaryingDiagonal, u: Tensor) -> Tensor:
    outputs, state = [], None
    for k in range(system.length):
        y, state = backend(system.during([k]), u[:, k : k + 1], state)
        outputs.append(y)
    return torch.cat(outputs, 1)


def example_time_varying_systems(batch: int, length: int) -> list[TimeVaryingDiagonal]:
    """Five in float32: pairs, real and complex, of one channel and several, with B, C and D shared
    and not. Some lam are zero.
    """
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
    batch: int,
    length: int,
    H: int,
    N: int,
    m: int,
    p: int,
    dtype: torch.dtype,
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
