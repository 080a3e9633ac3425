"""The three gains of a trained network: declared, verified, attacked."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from ssmbench.analysis.attack import Attack
from ssmbench.analysis.certificate import TOLERANCE, Bound
from ssmbench.analysis.rounding import rounding_gain
from ssmbench.config import AnalysisConfig
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.encoded import AfterEncoder, SignalMap, gain_map
from ssmbench.nn.freeze import exact_map, freeze, precision
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.results import Gains, LayerGains, NetworkGains
from ssmbench.spec import Reading
from ssmbench.systems import FROZEN_ONLY
from ssmbench.training.adversary import attack_layer, attack_network, zero_input_starts
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
class Measurement:
    """``gain``: a result's part of that name. ``worst``: the network's worst input, if any.
    ``poles``: as from :func:`poles`."""

    gain: Gains
    worst: Attack | None
    poles: list[Complex[Tensor, " _"]]


def measuring_device(trained_on: torch.device) -> torch.device:
    """Where a network is measured: where it was trained, or the CPU where that has no float64."""
    try:
        torch.zeros(1, dtype=torch.float64, device=trained_on)
    except (TypeError, RuntimeError):  # Apple's MPS
        return torch.device("cpu")
    return trained_on


def measure_gains(
    model: SequenceModel,
    inputs: Shaped[Tensor, "n ..."],
    config: AnalysisConfig,
    lengths: Shaped[Tensor, ...] | None = None,
) -> Measurement:
    """The gains of a model in evaluation mode, with the worst input that was found.

    ``inputs`` and ``lengths`` are those of a batch of the task. The adversary runs where the model
    is, and the inputs are moved there; what is declared, verified or a pole is computed on the CPU,
    from the layers' matrices. See :class:`~ssmbench.results.Gains` for what the figures mean.
    """
    frozen = freeze(model)
    network, signals = _signals(frozen, inputs, lengths)
    seen = layer_inputs(frozen, inputs, lengths)
    pairs, steps = zip(model.layers, frozen.layers, seen, strict=True), signals.shape[1]
    layers = [_measure_layer(layer, still, u, steps, config) for layer, still, u in pairs]
    bound, steps = _worst_bound(model, layers, steps, lengths)
    figures, worst = _measure_network(network, bound, signals[:, :steps], config)
    return Measurement(_worst(model, layers, figures), worst, poles(frozen, inputs, lengths))


def _worst(model: SequenceModel, layers: list[LayerGains], network: NetworkGains) -> Gains:
    varying = any(layer.time_varying for layer in model.layers)
    return Gains(
        promised=_largest(g.promised for g in layers),
        declared=_largest(g.declared for g in layers),
        verified=_largest(g.verified for g in layers),
        attacked=max(g.attacked for g in layers),
        spectral_radius=max(g.spectral_radius for g in layers),
        margin=min(g.margin for g in layers),
        unproved=tuple(sorted({name for g in layers for name in g.unproved})),
        violations=tuple(violations(layers, network)),
        arithmetic=str(precision(model)).removeprefix("torch."),
        layers=tuple(layers),
        network=network,
        note=FROZEN_ONLY if varying else "",
        frozen=max(g.frozen or 0.0 for g in layers) if varying else None,
    )


def _signals(
    frozen: SequenceModel, inputs: Tensor, lengths: Tensor | None
) -> tuple[SignalMap, Float[Tensor, "n L d"]]:
    """As :func:`~ssmbench.nn.encoded.gain_map`; zeros where the network cannot encode anything."""
    if is_finite(frozen):
        return gain_map(frozen, inputs, lengths)
    steps = inputs.shape[2 if frozen.decoder.reads is Reading.pair else 1]
    return frozen, torch.zeros(1, steps, 1, device=inputs.device)


def _worst_bound(
    model: SequenceModel, layers: list[LayerGains], length: int, lengths: Tensor | None
) -> tuple[Bound, int]:
    """The network's bound for sequences of all ``lengths``, and the length it is that of: the mean
    of a short sequence may change more than that of a long one."""
    bound = _composed(model, layers, length)
    shortest = length if lengths is None else int(lengths.min())
    of_shortest = _composed(model, layers, shortest)
    return (of_shortest, shortest) if of_shortest.value > bound.value else (bound, length)


def _composed(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound, from what is proved of its layers."""
    bound = model.bound([g.verified_bound for g in layers], length)
    if any(map(_is_unproved, layers)):
        return Bound.none("the gain of an SSM layer could not be proved")
    return bound


def _is_unproved(layer: LayerGains) -> bool:
    """Whether the layer's gain is finite, but no finite bound of it could be proved."""
    if layer.verified is None:
        return False
    return math.isfinite(layer.verified) and layer.verified_bound == math.inf


def _largest(values: Iterable[float | None]) -> float | None:
    """None unless every layer has the figure."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return max(known) if len(known) == len(listed) else None


def violations(layers: Sequence[LayerGains], network: NetworkGains) -> list[str]:
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
    declared, bound, attacked = network.declared, network.bound, network.attacked
    if declared is not None and bound > declared * (1 + TOLERANCE):
        found.append(f"network: bound {bound:g} > declared {declared:g}")
    if attacked > bound * (1 + TOLERANCE):
        found.append(f"network: attacked {attacked:g} > bound {bound:g}")
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
    assert report.spectral_radius is not None, "the system of a layer is discrete"
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
        return float(rounding_gain(layer.system().to("cpu")).max())


def _promised(layer: SSMLayer) -> float | None:
    """What the discretizer alone may keep or break; None where there is nothing of the kind."""
    if layer.discretizer is None or layer.normaliser is not None:
        return None
    return layer.parametrization.declared_gain() if is_finite(layer) else math.inf


def _measure_varying(
    layer: SSMLayer, u: Float[Tensor, "n L d"] | None, config: AnalysisConfig
) -> LayerGains:
    if u is None:
        return LayerGains(
            declared=None,
            verified=None,
            attacked=math.inf,
            peak_frequency=0.0,
            spectral_radius=math.inf,
            margin=-math.inf,
            frozen=math.inf,
            note=f"{FROZEN_ONLY}; {_LOST}",
        )
    report = frozen_report(layer, u)
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
    network: SignalMap,
    bound: Bound,
    inputs: Float[Tensor, "n L m"],
    config: AnalysisConfig,
) -> tuple[NetworkGains, Attack | None]:
    model = network.network if isinstance(network, AfterEncoder) else network
    if not is_finite(model):
        return _lost_network(model, bound.reason), None
    if bound.value > torch.finfo(inputs.dtype).max:  # nothing so large can be observed
        bound = Bound.none(bound.reason or "the bound overflows")
    exact = exact_map(network, inputs)
    found = attack_network(network, exact, inputs, config)
    from_zero = found.gains[: zero_input_starts(config)].max().item()
    reason = _why_no_zero_state(exact or network, inputs[:1])
    figures = NetworkGains(
        declared=model.gamma,
        bound=bound.value,
        reason=bound.reason,
        attacked=found.worst.gain,
        attacked_from_zero=from_zero,
        zero_state=None if reason else from_zero,
        zero_state_reason=reason,
        gains_from=model.gains_from.value,
    )
    return figures, found.worst


def _lost_network(model: SequenceModel, reason: str) -> NetworkGains:
    """The gains of a network with a parameter that is not finite."""
    return NetworkGains(
        declared=model.gamma,
        bound=math.inf,
        reason=reason or _LOST,
        attacked=math.inf,
        attacked_from_zero=math.inf,
        zero_state_reason=_LOST,
        gains_from=model.gains_from.value,
    )


def _why_no_zero_state(model: SignalMap, like: Float[Tensor, "1 L m"]) -> str:
    """Why there is no zero-state gain; nothing where f(0) = 0."""
    with torch.no_grad():
        offset = model(torch.zeros_like(like, dtype=precision(model))).double().norm().item()
    learned = any(layer.x0 is not None for layer in model.layers)
    source = " (it starts from a learned state)" if learned else ""
    reason = f"||f(0)|| is {offset:.4g}, not 0{source}: from zero input it is incremental"
    return reason if offset else ""
