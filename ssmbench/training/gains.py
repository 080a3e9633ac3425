"""The three gains of a trained network: declared, verified, attacked."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.analysis.attack import Attack
from ssmbench.analysis.certificate import TOLERANCE, Bound
from ssmbench.analysis.rounding import rounding_gain
from ssmbench.config import AnalysisConfig
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.freeze import exact_map, freeze, precision
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.systems import FROZEN_ONLY
from ssmbench.training.adversary import attack_layer, attack_network, silent_starts
from ssmbench.training.layer_analysis import (
    analyse_layer,
    declared_gain,
    frozen_report,
    layer_inputs,
    poles,
)

#: Figures of a layer, by their names in an analysis.
_FIGURES = {"hinf": "verified", "spectral_radius": "spectral_radius", "margin": "margin"}
#: Above such a gain, float32 overflows at signals of norm 1: an infinite attack says nothing.
_OBSERVABLE = torch.finfo(torch.float32).max / 16
_LOST = "a parameter is not finite"


@dataclass(frozen=True)
class LayerGains:
    """One SSM layer: gains from its input to its output, and its poles.

    ``promised`` is what its parametrization declares of the continuous system, before sampling.
    ``verified`` is proved not to exceed the gain, and ``verified_bound`` not to lie below it
    (infinite where no proof succeeded); ``unproved`` names the figures that are estimates. Both
    are of exact arithmetic on the stored matrices; ``rounding`` bounds what the layer's own
    precision may add.
    A time-varying layer has nothing verified, and a ``note`` that says so; ``frozen``, the radius
    and the margin are those of the systems that it is at some steps of some inputs, and the attack
    is incremental, around silence and its inputs.
    """

    declared: float | None
    verified: float | None
    attacked: float
    peak_frequency: float
    spectral_radius: float
    margin: float
    promised: float | None = None
    frozen: float | None = None
    note: str = ""
    verified_bound: float | None = None
    unproved: tuple[str, ...] = ()
    rounding: float | None = None


@dataclass(frozen=True)
class Measurement:
    """``gain``: a result's part of that name. ``worst``: the network's worst input, if any.
    ``poles``: as from :func:`poles`."""

    gain: dict[str, Any]
    worst: Attack | None
    poles: list[Complex[Tensor, " _"]]


def measure_gains(
    model: SequenceModel, inputs: Float[Tensor, "n L m"], config: AnalysisConfig
) -> Measurement:
    """The gains of a model in evaluation mode, with the worst input that was found.

    ``declared``, ``verified`` and ``attacked`` are the largest over the SSM layers, each from the
    layer's input to its output; ``promised`` is declared of the continuous systems, before a
    discretizer that may break it; ``network`` has the incremental gain from u to the prediction:
    what ``model.gamma`` declares, an upper bound composed from what is proved of the layers, and
    what the adversary found. A *zero-state* gain ``||f(u)|| / ||u||`` exists only where f(0) = 0;
    elsewhere it is None, with the reason, and what was found from silence is incremental.
    """
    frozen = freeze(model)
    length = inputs.shape[1]
    seen = layer_inputs(frozen, inputs)
    pairs = zip(model.layers, frozen.layers, seen, strict=True)
    layers = [_measure_layer(layer, still, u, length, config) for layer, still, u in pairs]
    bound = _composed(model, layers, length)
    network, worst = _measure_network(frozen, bound, inputs, config)
    gain = {
        "promised": _largest(g.promised for g in layers),
        "declared": _largest(g.declared for g in layers),
        "verified": _largest(g.verified for g in layers),
        "attacked": max(g.attacked for g in layers),
        "spectral_radius": max(g.spectral_radius for g in layers),
        "margin": min(g.margin for g in layers),
        "unproved": sorted({name for g in layers for name in g.unproved}),
        "violations": violations(layers, network),
        "arithmetic": str(precision(model)).removeprefix("torch."),
        "layers": [asdict(g) | {"unproved": list(g.unproved)} for g in layers],
        "network": network,
    }
    if any(layer.time_varying for layer in model.layers):
        gain |= {"note": FROZEN_ONLY, "frozen": max(g.frozen or 0.0 for g in layers)}
    return Measurement(gain, worst, poles(frozen, inputs))


def _composed(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound, from what is proved of its layers."""
    bound = model.bound([g.verified_bound for g in layers], length)
    open_ = any(g.verified_bound == math.inf and math.isfinite(g.verified) for g in layers)
    return Bound.none("the gain of an SSM layer could not be proved") if open_ else bound


def _largest(values: Iterable[float | None]) -> float | None:
    """None unless every layer has the figure."""
    listed = list(values)
    return None if None in listed else max(listed)


def violations(layers: list[LayerGains], network: dict[str, Any]) -> list[str]:
    """Every place where declared >= verified >= attacked does not hold, as a sentence."""
    found = []
    for index, gains in enumerate(layers):
        if gains.verified is None:
            continue
        if gains.declared is not None and gains.verified > gains.declared * (1 + TOLERANCE):
            found.append(
                f"layer {index}: verified {gains.verified:g} > declared {gains.declared:g}"
            )
        overflow = math.isinf(gains.attacked) and gains.verified > _OBSERVABLE
        if gains.attacked > gains.verified * (1 + TOLERANCE) and not overflow:
            found.append(
                f"layer {index}: attacked {gains.attacked:g} > verified {gains.verified:g}"
            )
    promised = network.get("declared")
    if promised is not None and network["bound"] > promised * (1 + TOLERANCE):
        found.append(f"network: bound {network['bound']:g} > declared {promised:g}")
    if network["attacked"] > network["bound"] * (1 + TOLERANCE):
        found.append(f"network: attacked {network['attacked']:g} > bound {network['bound']:g}")
    return found


def _measure_layer(
    layer: SSMLayer,
    frozen: SSMLayer,
    u: Float[Tensor, "n L d"] | None,
    length: int,
    config: AnalysisConfig,
) -> LayerGains:
    if layer.time_varying:
        return _measure_varying(frozen, u, config)
    report = analyse_layer(layer)
    return LayerGains(
        declared=declared_gain(layer),
        verified=report.hinf,
        attacked=attack_layer(frozen, length, config) if is_finite(layer) else math.inf,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
        promised=_promised(layer),
        verified_bound=report.hinf_upper_bound,
        rounding=_rounding(layer),
        unproved=tuple(_FIGURES[name] for name in report.unproved if name in _FIGURES),
    )


def _rounding(layer: SSMLayer) -> float:
    if not is_finite(layer):
        return math.inf
    with torch.no_grad():
        return float(rounding_gain(layer.system()).max())


def _promised(layer: SSMLayer) -> float | None:
    """What the discretizer alone may keep or break; None where there is nothing of the kind."""
    if layer.discretizer is None or layer.normaliser is not None:
        return None
    return layer.parametrization.declared_gain() if is_finite(layer) else math.inf


def _measure_varying(
    layer: SSMLayer, u: Float[Tensor, "n L d"] | None, config: AnalysisConfig
) -> LayerGains:
    report = frozen_report(layer, u)
    if report is None:
        lost = dict.fromkeys(("attacked", "spectral_radius", "frozen"), math.inf)
        note = f"{FROZEN_ONLY}; {_LOST}"
        return LayerGains(None, None, peak_frequency=0.0, margin=-math.inf, note=note, **lost)
    exact = copy.deepcopy(layer).double()
    return LayerGains(
        declared=declared_gain(layer),
        verified=None,
        attacked=attack_network(layer, exact, u, config).worst.gain,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
        frozen=report.gain,
        note=FROZEN_ONLY,
    )


def _measure_network(
    frozen: SequenceModel, bound: Bound, inputs: Tensor, config: AnalysisConfig
) -> tuple[dict[str, Any], Attack | None]:
    if not is_finite(frozen):
        lost = {"declared": frozen.gamma, "attacked": math.inf, "attacked_from_silence": math.inf}
        lost |= {"bound": math.inf, "reason": bound.reason or _LOST}
        return lost | {"zero_state": None, "zero_state_reason": _LOST}, None
    inputs = inputs.to(precision(frozen))
    if bound.value > torch.finfo(inputs.dtype).max:  # nothing so large can be observed
        bound = Bound.none(bound.reason or "the bound overflows")
    exact = exact_map(frozen, inputs)
    found = attack_network(frozen, exact, inputs, config)
    from_silence = found.gains[: silent_starts(config)].max().item()
    reason = _why_no_zero_state(exact or frozen, inputs[:1])
    figures = {
        "declared": frozen.gamma,
        "bound": bound.value,
        "reason": bound.reason,
        "attacked": found.worst.gain,
        "attacked_from_silence": from_silence,
        "zero_state": None if reason else from_silence,
        "zero_state_reason": reason,
    }
    return figures, found.worst


def _why_no_zero_state(model: SequenceModel, like: Float[Tensor, "1 L m"]) -> str:
    """Why there is no zero-state gain; nothing where f(0) = 0."""
    with torch.no_grad():
        offset = model(torch.zeros_like(like, dtype=precision(model))).double().norm().item()
    learned = any(layer.x0 is not None for layer in model.layers)
    source = " (it starts from a learned state)" if learned else ""
    reason = f"||f(0)|| is {offset:.4g}, not 0{source}: from silence it is incremental"
    return reason if offset else ""
