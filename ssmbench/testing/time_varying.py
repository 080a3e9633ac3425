"""Conformance checks of parametrizations that return time-varying systems."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE, GainClaim
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.config import AnalysisConfig
from ssmbench.nn.contracts import check_built
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.system_contracts import check_channels, check_system
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend, scan_by_parts
from ssmbench.systems import (
    ContinuousTimeVaryingDiagonal,
    DiscreteTimeVarying,
    TimeVaryingDelta,
    TimeVaryingDiagonal,
)
from ssmbench.testing.modules import check_parameter_gradients, randomise, total
from ssmbench.testing.report import Subject, skip_if_none, skip_unless
from ssmbench.training.adversary import attack_varying
from ssmbench.training.layer_analysis import LayerInput

_LENGTH = 9
_ATTACK = AnalysisConfig(attack_steps=40, attack_restarts=8)
_TOLERANCE = 2e-5


def builds(subject: Subject) -> None:
    """It can be built for a layer with one channel and with several, with finite parameters of
    torch's default dtype, and sets its attribute d_model.
    """
    for module, u in _cases(subject):
        check_built(subject.entry, module, Parametrization)
        width = getattr(module, "d_model", None)
        assert width == u.shape[-1], (
            f"a time-varying parametrization must set d_model to {u.shape[-1]}; got {width}"
        )


def returns_the_declared_system(subject: Subject) -> None:
    """The system is finite, of the declared type, with matrices for each step of each sequence."""
    for module, u in _cases(subject):
        system = module(u)
        check_system(module, system, None)
        found, expected = (system.batch, system.length), tuple(u.shape[:2])
        assert found == expected, f"the system is for {found} sequences and steps, not {expected}"


def head_sizes_match_d_model(subject: Subject) -> None:
    """The inputs of all heads add up to d_model channels, and so do the outputs."""
    for module, u in _cases(subject):
        check_channels(module, module(u), u.shape[-1])


def system_depends_on_the_input(subject: Subject) -> None:
    """Different inputs give different systems."""
    for module, u in _cases(subject):
        pairs = zip(module(u).tensors().values(), module(2 * u).tensors().values(), strict=True)
        fixed = all(torch.equal(one, other) for one, other in pairs)
        assert not fixed, "declares a time-varying system, but does not depend on the input"


def every_parameter_has_a_finite_gradient(subject: Subject) -> None:
    """The system depends on every parameter, with a finite gradient."""
    for module, u in _cases(subject):
        energy = total(tensor.abs().square().sum() for tensor in module(u).tensors().values())
        energy.backward()
        check_parameter_gradients(module)


def steps_are_independent(subject: Subject) -> None:
    """The matrices at a step depend on the input at that step only; streaming and sequence
    parallelism rely on this.
    """
    for module, u in _cases(subject):
        _check_pointwise(module, u)


def every_scan_agrees_with_single_steps(subject: Subject) -> None:
    """The scan of every backend over all steps agrees with the reference applied step by step."""
    for module, u in _cases(subject):
        _check_scans(module, u)


def stable_as_declared(subject: Subject) -> None:
    """If stability is declared, the system frozen at each step is stable for random parameters of
    several scales.
    """
    for module, u, scale in _randomised(subject):
        skip_unless(module.stable_by_construction, "declares no stability by construction")
        with torch.no_grad():
            stable = module(u).bank().double().is_stable()
        assert stable, (
            f"declares stability by construction, but is unstable frozen in time, at scale {scale}"
        )


def gain_as_declared(subject: Subject) -> None:
    """If a gain is declared, it bounds the H-infinity norm of the system frozen at each step, for
    random parameters of several scales.
    """
    for module, u, _ in _randomised(subject):
        declared = skip_if_none(module.declared_gain(), "declares no gain")
        with torch.no_grad():
            frozen = hinf_norm(module(u).bank().double()).norm.max().item()
        assert frozen <= declared * (1 + TOLERANCE), (
            f"declares a gain of {declared:g}, but the H-infinity norm frozen in time is {frozen:g}"
        )


def takes_a_selection_as_declared(subject: Subject) -> None:
    """If it takes a signal that selects apart from the input, it can be built for one of any width,
    which then selects the matrices, at each step by that step alone.
    """
    skip_unless(subject.entry.factory.takes_selection, "selects by the layer's input only")
    module, s = subject.build(d_model=4, d_selection=3), torch.randn(2, _LENGTH, 3)
    assert module.d_selection == 3, f"must set d_selection to 3; got {module.d_selection}"
    check_channels(module, module(s), 4)
    _check_pointwise(module, s)


def no_input_exceeds_the_declared_gain(subject: Subject) -> None:
    """If a gain is declared, an adversary does not exceed it, for random parameters of several
    scales: by ||y|| / ||u|| where the claim is zero-state, with the matrices selected as it likes
    where a signal apart from the input may select them; by differences where it is incremental.
    """
    skip_unless(not subject.entry.factory.is_continuous(), "is measured as it is discretized")
    for scale in (0.3, 1.0, 3.0):
        module, given = _selecting(subject, scale)
        declared = skip_if_none(module.declared_gain(), "declares no gain")
        zero_state = module.gain_claim is GainClaim.zero_state
        layer = SSMLayer(module, None, registry.scans.get("auto").build()).double()
        selection = None if given.selection is None else given.selection.double()
        found = attack_varying(layer, LayerInput(given.u.double(), selection), _ATTACK)
        attacked = found[0] if zero_state else found[1]
        assert attacked <= declared * (1 + TOLERANCE), (
            f"declares a {module.gain_claim.value} gain of {declared:g}, but an input is amplified "
            f"by {attacked:g}, with parameters of scale {scale}"
        )


CHECKS = (
    builds,
    returns_the_declared_system,
    head_sizes_match_d_model,
    system_depends_on_the_input,
    every_parameter_has_a_finite_gradient,
    steps_are_independent,
    every_scan_agrees_with_single_steps,
    stable_as_declared,
    gain_as_declared,
    takes_a_selection_as_declared,
    no_input_exceeds_the_declared_gain,
)


def _selecting(subject: Subject, scale: float) -> tuple[Parametrization, LayerInput]:
    """A module with random parameters, selected by a signal of its own if it takes one."""
    takes = subject.entry.factory.takes_selection
    module = subject.build(d_model=4, **({"d_selection": 3} if takes else {}))
    randomise(module, scale)
    selection = torch.randn(2, 2 * _LENGTH, 3) if takes else None
    return module, LayerInput(torch.randn(2, 2 * _LENGTH, 4), selection)


def _cases(subject: Subject) -> Iterator[tuple[Parametrization, Tensor]]:
    """Modules with one channel and with several, each with an input (2, _LENGTH, d_model)."""
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
                f"{key} at a step depends on other steps or on other sequences"
            )


@torch.no_grad()
def _check_scans(module: Parametrization, u: Tensor) -> None:
    system = module(u)
    if isinstance(system, ContinuousTimeVaryingDiagonal):
        system = registry.discretizers.get("zoh").build()(system)
    assert isinstance(system, DiscreteTimeVarying)
    signal = u.unflatten(-1, (system.heads, system.inputs))
    expected = _stepwise(registry.scans.get("reference").build(), system, signal)
    for entry in registry.scans:
        backend: ScanBackend = entry.build()
        if backend.refusal(system, u.device) is None:
            y, _ = scan_by_parts(backend, system, signal, None)
            error = (y - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
            assert error < _TOLERANCE, f"the scan {entry.name} has a relative error of {error:.1e}"


def _stepwise(backend: ScanBackend, system: DiscreteTimeVarying, u: Tensor) -> Tensor:
    outputs, state = [], None
    for k in range(system.length):
        y, state = backend(system.during([k]), u[:, k : k + 1], state)
        outputs.append(y)
    return torch.cat(outputs, 1)


def example_time_varying_systems(batch: int, length: int) -> list[TimeVaryingDiagonal]:
    """Five float32 systems: with conjugate pairs, real and complex; with one channel and several;
    with B, C or D that are constant over steps or heads (expanded views). Some lam are zero.

    Each has ``batch`` sequences of ``length`` steps.
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


def example_delta_systems(batch: int, length: int) -> list[TimeVaryingDelta]:
    """Two float32 systems: with a decay of each key, and with one decay for all keys as a view.

    Each has ``batch`` sequences of ``length`` steps.
    """
    return [_random_delta(batch, length, 2, 5, 3, 5), _random_delta(batch, length, 1, 4, 17, 1)]


def _random_delta(
    batch: int, length: int, groups: int, states: int, width: int, decays: int
) -> TimeVaryingDelta:
    place = (batch, length, groups)
    key, query = (torch.nn.functional.normalize(torch.randn(*place, states), dim=-1) for _ in "kq")
    gates = ("forget", "write", "erase", "read")
    return TimeVaryingDelta(
        key=key,
        query=query,
        decay=0.9 + 0.1 * torch.rand(*place, decays),
        width=width,
        **{name: torch.rand(place) for name in gates},
    )


def _random(
    batch: int,
    length: int,
    H: int,
    N: int,
    m: int,
    p: int,
    dtype: torch.dtype,
) -> TimeVaryingDiagonal:
    shape = (batch, length, H)
    direction = torch.randn(*shape, N, dtype=dtype)
    modulus = 0.5 + 0.499 * torch.rand(*shape, N)
    modulus[..., 0] = 0
    return TimeVaryingDiagonal(
        lam=modulus * direction / direction.abs(),
        B=torch.randn(*shape, N, m, dtype=dtype),
        C=torch.randn(*shape, p, N, dtype=dtype),
        D=torch.randn(*shape, p, m),
    )


def gradient_of_views(gradient: Tensor, leaf: Tensor) -> Tensor:
    """The gradient with respect to the stored numbers of ``leaf``, which may be an expanded view.

    How autograd distributes a gradient over the elements that share storage is not defined; only
    the sum is.
    """
    for axis, (stride, size) in enumerate(zip(leaf.stride(), leaf.shape, strict=True)):
        gradient = gradient.sum(axis, keepdim=True) if stride == 0 and size > 1 else gradient
    return gradient
