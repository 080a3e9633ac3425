"""Conformance checks of parametrizations: the declared system, stability and gain."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator

import torch

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.measured import is_worse
from ssmbench.config import build
from ssmbench.measures.base import Measure
from ssmbench.measures.chosen import chosen
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_channels, check_system
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import ContinuousSystem, LinearSystem
from ssmbench.testing.modules import check_parameter_gradients, randomise, total
from ssmbench.testing.report import Subject, skip_if_none, skip_unless

_D_MODELS = (1, 4)
_SCALES = (0.1, 1.0, 10.0)
_FEW_STATES, _PUSHES, _STEP = 8, 60, 0.3


def builds(subject: Subject) -> None:
    """It can be built for a layer with one channel and with several, with finite parameters of
    torch's default dtype.
    """
    for module in _modules(subject):
        check_built(subject.entry, module, Parametrization)


def returns_the_declared_system(subject: Subject) -> None:
    """The system is finite, of the declared type, with real outputs, on the device of the
    parameters, and has as many states as the option ``d_state`` says, if there is one.
    """
    for module in _modules(subject):
        check_system(module, module(), declared_states(subject))


def head_sizes_match_d_model(subject: Subject) -> None:
    """The inputs of all heads add up to d_model channels, and so do the outputs."""
    for d_model, module in zip(_D_MODELS, _modules(subject), strict=True):
        check_channels(module, module(), d_model)


def every_parameter_has_a_finite_gradient(subject: Subject) -> None:
    """The system depends on every parameter, with a finite gradient."""
    for module in _modules(subject):
        energy = total(tensor.abs().square().sum() for tensor in module().tensors().values())
        energy.backward()
        check_parameter_gradients(module)


def optimizer_options_name_parameters(subject: Subject) -> None:
    """Every name in ``optimizer_options`` is a parameter of the module."""
    for module in _modules(subject):
        known = {name for name, _ in module.named_parameters()}
        unknown = sorted(set(module.optimizer_options()) - known)
        assert not unknown, (
            f"optimizer_options names {unknown}, which are not parameters of the module"
        )


def repeated_calls_agree(subject: Subject) -> None:
    """The system depends on the parameters only: two calls return equal systems."""
    for module in _modules(subject):
        assert _same(module(), module()), "two calls return different systems"


def stable_as_declared(subject: Subject) -> None:
    """If stability is declared, the system is stable for random parameters of several scales."""
    for module, scale in _randomised(subject):
        skip_unless(module.stable_by_construction, "declares no stability by construction")
        check_stability(module, f"with parameters of scale {scale}")


def gain_as_declared(subject: Subject) -> None:
    """The H-infinity norm is at most the declared gain for random parameters of several scales."""
    for module, scale in _randomised(subject):
        skip_if_none(module.declared_gain(), "declares no gain")
        check_declared_gain(module, f"with parameters of scale {scale}")


def measures_as_declared(subject: Subject) -> None:
    """Every measure that is declared beside the gain holds, proved and attacked: for random
    parameters of several scales, and after steps that push each towards what is declared.
    """
    declared = subject.build(d_model=2).declared_measures()
    skip_unless(bool(declared), "declares no measure beside the gain")
    small = _with_fewer_states(subject)
    for scale in _SCALES:
        module = small.build(d_model=2)
        randomise(module, scale)
        check_declared_measures(module, f"with parameters of scale {scale}")
    for name in declared:
        module = small.build(d_model=2)
        push(module, name)
        check_declared_measures(module, f"after {_PUSHES} steps that push {name}")


def push(module: Parametrization, name: str, steps: int = _PUSHES) -> None:
    """Bring a measure near what is declared: by steps of Adam on its differentiable estimate, or
    where it has none, by random steps, of which those are kept that make the measure worse."""
    measure = _measure(name)
    if measure.estimate(_fixed(module)) is None:
        _push_at_random(module, measure, steps)
    else:
        _push_by_gradients(module, measure, steps)


def _push_by_gradients(module: Parametrization, measure: Measure, steps: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(steps):
        estimate = measure.estimate(_fixed(module))
        assert estimate is not None, "the measure has an estimate of some systems only"
        optimizer.zero_grad()
        (-estimate if measure.larger_is_worse else estimate).backward()
        optimizer.step()


def _push_at_random(module: Parametrization, measure: Measure, steps: int) -> None:
    generator, worst = torch.Generator().manual_seed(0), _badness(module, measure)
    for _ in range(steps):
        before = copy.deepcopy(module.state_dict())
        with torch.no_grad():
            for parameter in module.parameters():
                moved = torch.randn(parameter.shape, generator=generator)
                parameter += _STEP * moved.to(parameter)
        reached = _badness(module, measure)
        if reached > worst:
            worst = reached
        else:
            module.load_state_dict(before)


def _badness(module: Parametrization, measure: Measure) -> float:
    """The proved figure, or without a proof what was reached: the larger, the worse."""
    with torch.no_grad():
        found = measure.measure(_fixed(module))
    figure = found.bound if math.isfinite(found.bound) else found.attacked
    return figure if measure.larger_is_worse else -figure


def _measure(name: str) -> Measure:
    """A measure by its name, or by its name with options."""
    (component,) = chosen([name], "declared_measures")
    return build(registry.measures, component)


def _fixed(module: Parametrization) -> LinearSystem:
    system = module().double()
    assert isinstance(system, LinearSystem), "measures are declared of time-invariant systems"
    return system


def gain_near_the_unit_circle(subject: Subject) -> None:
    """The declared gain holds for the discrete float32 matrices while the poles are optimized
    towards the unit circle.

    At a distance of 1e-6 from the circle, rounding the pole to float32 changes the gain by several
    percent. A continuous system is discretized by Tustin's method, which preserves the gain.
    """
    module = subject.build(d_model=4)
    skip_if_none(module.declared_gain(), "declares no gain")
    discretize = registry.discretizers.get("tustin").build()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.5)
    for _ in range(40):
        system = module()
        system = discretize(system) if isinstance(system, ContinuousSystem) else system
        gap = 1 - system.poles().abs().max()
        verified, declared = hinf_norm(system.detach()).norm.max().item(), declared_gain(module)
        assert verified <= declared * (1 + TOLERANCE), (
            f"declares a gain of {declared:g}, but with a pole of modulus 1 - {gap.item():.1e} the "
            f"H-infinity norm of its float32 matrices is {verified:g}"
        )
        optimizer.zero_grad()
        torch.log(gap.clamp_min(1e-12)).backward()
        optimizer.step()


CHECKS = (
    builds,
    returns_the_declared_system,
    head_sizes_match_d_model,
    every_parameter_has_a_finite_gradient,
    optimizer_options_name_parameters,
    repeated_calls_agree,
    stable_as_declared,
    gain_as_declared,
    measures_as_declared,
    gain_near_the_unit_circle,
)


def declared_states(subject: Subject) -> int | None:
    """The option ``d_state`` of the entry; None if it has no such option."""
    return getattr(subject.options, "d_state", None)


def declared_gain(module: Parametrization) -> float:
    """The gain that the module declares for its current parameters.

    Raises:
        AssertionError: it declares none.
    """
    gain = module.declared_gain()
    assert gain is not None, "declares no gain for these parameters"
    return gain


def check_stability(module: Parametrization, case: str) -> None:
    """Raise an AssertionError unless the system is stable for the current parameters.

    ``case`` describes the parameters in the message.
    """
    with torch.no_grad():
        assert module().double().is_stable(), (
            f"declares stability by construction, but is unstable {case}"
        )


def check_declared_gain(module: Parametrization, case: str) -> None:
    """Raise an AssertionError if the H-infinity norm exceeds the declared gain.

    ``case`` describes the parameters in the message.
    """
    with torch.no_grad():
        verified = hinf_norm(module().double()).norm.max().item()
    declared = declared_gain(module)
    assert verified <= declared * (1 + TOLERANCE), (
        f"declares a gain of {declared:g}, but its H-infinity norm is {verified:g} {case}"
    )


def check_declared_measures(module: Parametrization, case: str) -> None:
    """Raise an AssertionError if a measure is worse than declared, or not proved to be so good.

    ``case`` describes the parameters in the message.
    """
    with torch.no_grad():
        system = _fixed(module)
    for name, declared in module.declared_measures().items():
        found = _measure(name).measure(system)
        worse = found.larger_is_worse, found.scale
        broken = found.exceeds(declared) or is_worse(found.bound, declared, *worse)
        assert not broken, (
            f"declares {name} {declared:g}, but {found.proved.lower:g} to {found.proved.upper:g} "
            f"are proved and {found.attacked:g} was reached {case}"
        )


def _with_fewer_states(subject: Subject) -> Subject:
    states = declared_states(subject)
    if states is None or states <= _FEW_STATES:
        return subject
    return Subject(subject.entry, dataclasses.replace(subject.options, d_state=_FEW_STATES))


def _modules(subject: Subject) -> Iterator[Parametrization]:
    return (subject.build(d_model=d_model) for d_model in _D_MODELS)


def _randomised(subject: Subject) -> Iterator[tuple[Parametrization, float]]:
    for scale in _SCALES:
        module = subject.build(d_model=4)
        randomise(module, scale)
        yield module, scale


def _same(a: LinearSystem, b: LinearSystem) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)
