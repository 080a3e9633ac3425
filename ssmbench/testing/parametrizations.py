"""The conformance kit's part for parametrizations: declared stability and gain."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_channels, check_system
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import ContinuousSystem, LinearSystem
from ssmbench.testing.modules import check_parameter_gradients, randomise, total
from ssmbench.testing.report import Subject, skip_if_none, skip_unless

_D_MODELS = (1, 4)
_SCALES = (0.1, 1.0, 10.0)


def builds(subject: Subject) -> None:
    """It can be built for a layer of one channel and of several, with finite parameters of torch's
    default precision.
    """
    for module in _built(subject):
        check_built(subject.entry, module, Parametrization)


def returns_the_declared_system(subject: Subject) -> None:
    """A finite system of the declared type, with a real output, on its parameters' device, with
    as many states as its option ``d_state`` says, where it has one.
    """
    for module in _built(subject):
        check_system(module, module(), declared_states(subject))


def heads_make_up_the_channels(subject: Subject) -> None:
    """The heads' inputs together, and their outputs, are the layer's d_model channels."""
    for d_model, module in zip(_D_MODELS, _built(subject), strict=True):
        check_channels(module, module(), d_model)


def every_parameter_has_a_finite_gradient(subject: Subject) -> None:
    """The system depends on every parameter, with a finite gradient."""
    for module in _built(subject):
        energy = total(tensor.abs().square().sum() for tensor in module().tensors().values())
        energy.backward()
        check_parameter_gradients(module)


def optimizer_options_name_parameters(subject: Subject) -> None:
    """``optimizer_options`` are for parameters that the module has."""
    for module in _built(subject):
        known = {name for name, _ in module.named_parameters()}
        unknown = sorted(set(module.optimizer_options()) - known)
        assert not unknown, f"optimizer options for {unknown}, which are none of its parameters"


def two_calls_agree(subject: Subject) -> None:
    """The system follows from the parameters alone."""
    for module in _built(subject):
        assert _same(module(), module()), "two calls give different systems"


def stable_as_declared(subject: Subject) -> None:
    """Random parameters of several scales give stable systems, where that is declared."""
    for module, scale in _randomised(subject):
        skip_unless(module.stable_by_construction, "declares no stability by construction")
        check_stability(module, f"with parameters of scale {scale}")


def gain_as_declared(subject: Subject) -> None:
    """Random parameters of several scales give systems of at most the declared gain."""
    for module, scale in _randomised(subject):
        skip_if_none(module.declared_gain(), "declares no gain")
        check_declared_gain(module, f"with parameters of scale {scale}")


def gain_near_the_unit_circle(subject: Subject) -> None:
    """The declared gain of the discrete float32 matrices while poles are driven to the circle.

    Rounding a pole at a distance of 1e-6 from it moves its gain by percents. A continuous system is
    sampled by Tustin's transform, which keeps the gain.
    """
    module = subject.build(d_model=4)
    skip_if_none(module.declared_gain(), "declares no gain")
    sample = registry.discretizers.get("tustin").build()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.5)
    for _ in range(40):
        system = module()
        system = sample(system) if isinstance(system, ContinuousSystem) else system
        gap = 1 - system.poles().abs().max()
        verified, declared = hinf_norm(system.detach()).norm.max().item(), declared_gain(module)
        assert verified <= declared * (1 + TOLERANCE), (
            f"declares a gain of {declared:g}, but with a pole at 1 - {gap.item():.1e} the "
            f"H-infinity norm of its float32 matrices is {verified:g}"
        )
        optimizer.zero_grad()
        torch.log(gap.clamp_min(1e-12)).backward()
        optimizer.step()


CHECKS = (
    builds,
    returns_the_declared_system,
    heads_make_up_the_channels,
    every_parameter_has_a_finite_gradient,
    optimizer_options_name_parameters,
    two_calls_agree,
    stable_as_declared,
    gain_as_declared,
    gain_near_the_unit_circle,
)


def declared_states(subject: Subject) -> int | None:
    """The number of states that the entry's options declare; None where they do not."""
    return getattr(subject.options, "d_state", None)


def declared_gain(module: Parametrization) -> float:
    """The gain that the module declares for its present parameters.

    Raises:
        AssertionError: it declares none.
    """
    gain = module.declared_gain()
    assert gain is not None, "declares no gain for these parameters"
    return gain


def check_stability(module: Parametrization, case: str) -> None:
    """Raise an AssertionError unless the system is stable for the present parameters."""
    with torch.no_grad():
        assert module().double().is_stable(), f"declared stable by construction, but is not {case}"


def check_declared_gain(module: Parametrization, case: str) -> None:
    """Raise an AssertionError if the H-infinity norm exceeds the declared gain."""
    with torch.no_grad():
        verified = hinf_norm(module().double()).norm.max().item()
    declared = declared_gain(module)
    assert verified <= declared * (1 + TOLERANCE), (
        f"declares a gain of {declared:g}, but its H-infinity norm is {verified:g} {case}"
    )


def _built(subject: Subject) -> Iterator[Parametrization]:
    return (subject.build(d_model=d_model) for d_model in _D_MODELS)


def _randomised(subject: Subject) -> Iterator[tuple[Parametrization, float]]:
    for scale in _SCALES:
        module = subject.build(d_model=4)
        randomise(module, scale)
        yield module, scale


def _same(a: LinearSystem, b: LinearSystem) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)
