"""The conformance kit's part for parametrizations: declared stability and gain."""

from __future__ import annotations

import torch

from ssmbench import registry
from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.systems import ContinuousSystem, LinearSystem
from ssmbench.testing.time_varying import conform_time_varying


def conform_parametrization(entry: Entry[Parametrization]) -> None:
    """System type, channels, gradients, stability and declared gain over random parameters."""
    if entry.factory.is_time_varying():
        conform_time_varying(entry)
        return
    for d_model in (1, 4):
        module = entry.build(d_model=d_model)
        _check_system(module, d_model)
        _check_gradients(module)
        _check_options(module)
        assert _same(module(), module()), f"{entry.name}: two calls give different systems"
    for scale in (0.1, 1.0, 10.0):
        randomise(module, scale)
        check_promises(module, f"{entry.name} with parameters of scale {scale}")
    if entry.build(d_model=4).declared_gain() is not None:
        _check_long_memory(entry.build(d_model=4), entry.name)


def randomise(module: torch.nn.Module, scale: float) -> None:
    """Draw every parameter from a normal distribution of the given scale."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)


def check_promises(module: Parametrization, name: str) -> None:
    """Stability by construction and the declared gain, for the present parameters."""
    with torch.no_grad():
        system = module().detach().double()
    if module.stable_by_construction:
        assert system.is_stable(), f"{name}: declared stable by construction, but is not"
    declared = module.declared_gain()
    if declared is not None:
        verified = hinf_norm(system).norm.max().item()
        assert verified <= declared * (1 + TOLERANCE), (
            f"{name}: declares a gain of {declared:g}, but its H-infinity norm is {verified:g}"
        )


def _check_long_memory(module: Parametrization, name: str) -> None:
    """The declared gain of the discrete float32 matrices while poles are driven to the circle.

    Rounding a pole at a distance of 1e-6 from it moves its gain by percents. A continuous system is
    sampled by Tustin's transform, which keeps the gain.
    """
    sample = registry.discretizers.get("tustin").build()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.5)
    for _ in range(40):
        system = module()
        system = sample(system) if isinstance(system, ContinuousSystem) else system
        gap = 1 - system.poles().abs().max()
        verified, declared = hinf_norm(system.detach()).norm.max().item(), module.declared_gain()
        assert verified <= declared * (1 + TOLERANCE), (
            f"{name}: declares a gain of {declared:g}, but with a pole at 1 - {gap.item():.1e} the "
            f"H-infinity norm of its float32 matrices is {verified:g}"
        )
        optimizer.zero_grad()
        torch.log(gap.clamp_min(1e-12)).backward()
        optimizer.step()


def _check_system(module: Parametrization, d_model: int) -> None:
    system, name = module(), type(module).__name__
    declared = module.system_type
    assert isinstance(system, declared), (
        f"{name}: declares {declared.__name__}, gives {type(system).__name__}"
    )
    assert system.heads * system.inputs == d_model, f"{name}: inputs are not d_model={d_model}"
    assert system.heads * system.outputs == d_model, f"{name}: outputs are not d_model={d_model}"
    assert system.is_finite(), f"{name}: a system that is not finite right after construction"


def _check_gradients(module: Parametrization) -> None:
    energy = sum(tensor.abs().square().sum() for tensor in module().tensors().values())
    energy.backward()
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"{name}: the system does not depend on this parameter"
        assert torch.isfinite(gradient).all(), f"{name}: its gradient is not finite"


def _check_options(module: Parametrization) -> None:
    unknown = set(module.optimizer_options()) - {name for name, _ in module.named_parameters()}
    assert not unknown, f"{type(module).__name__}: optimizer options for what it has not: {unknown}"


def _same(a: LinearSystem, b: LinearSystem) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)
