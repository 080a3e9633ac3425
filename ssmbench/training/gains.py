"""The three gains of a trained network: declared, verified, attacked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from ssmbench.analysis.attack import Attack
from ssmbench.analysis.certificate import Bound, GainClaim
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
from ssmbench.training.adversary import (
    attack_layer,
    attack_network,
    attack_varying,
    zero_input_starts,
)
from ssmbench.training.composed import (
    KnownPairs,
    known_pairs,
    proved_layer_gains,
    worst_bound,
    zero_state_bound,
)
from ssmbench.training.layer_analysis import (
    LayerInput,
    analyse_layer,
    declared_gain,
    frozen_report,
    layer_inputs,
    poles,
)
from ssmbench.training.layer_measures import layer_measures, measure_violations
from ssmbench.training.network_bound import Bounds, batch_lengths, tighter_bound
from ssmbench.training.violations import violations

#: Figures of a layer, by their names in an analysis.
_FIGURES = {"hinf": "verified", "spectral_radius": "spectral_radius", "margin": "margin"}
#: What is known of a time-varying layer that declares a gain.
PROVED_ONLY = (
    "time-varying: no matrices to verify; the declared gain is proved for all parameter values"
)
_NOT_FINITE = "a parameter is not finite"


@dataclass(frozen=True)
class Measurement:
    """``gain``: as in :class:`~ssmbench.results.Result`. ``worst``: the input that the network
    amplifies most; None if a parameter is not finite. ``poles``: of each layer (:func:`poles`).
    ``pairs``: gains to differences of outputs beside those that the product of the parts' gains
    gives."""

    gain: Gains
    worst: Attack | None
    poles: list[Complex[Tensor, " _"]]
    pairs: KnownPairs | None = None


def measuring_device(trained_on: torch.device) -> torch.device:
    """The device to measure a network on: that of its training, or the CPU if it has no float64."""
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
    promised: tuple[int, ...] = (),
) -> Measurement:
    """The gains of a model in evaluation mode, with the worst input that was found.

    ``inputs`` and ``lengths`` are those of a batch of the task; ``promised``: the lengths for which
    a network with a relaxation keeps its gamma, those of the batch among them. The attack runs on
    the model's device, to which the inputs are moved; declared and verified gains and poles are
    computed on the CPU, from the layers' matrices. :class:`~ssmbench.results.Gains` defines the
    figures.
    """
    frozen = freeze(model)
    network, signals = _signals(frozen, inputs, lengths)
    steps, seen = signals.shape[1], layer_inputs(frozen, inputs, lengths)
    layers = [
        _with_measures(
            layer, _measure_layer(layer, fixed, u, model.framing.count(steps), config), config
        )
        for layer, fixed, u in zip(model.layers, frozen.layers, seen, strict=True)
    ]
    composed, shortest = worst_bound(model, layers, steps, lengths)
    size = signals.shape[2], promised or batch_lengths(steps, lengths)
    tighter = tighter_bound(
        frozen, composed, proved_layer_gains(layers), *size, config.network_bound
    )
    claims_it = model.gain_claim is GainClaim.zero_state
    from_zero = zero_state_bound(model, layers, shortest) if claims_it else None
    bounds = Bounds(composed, tighter, from_zero)
    figures, worst = _measure_network(network, bounds, signals[:, :shortest], config)
    if model.declared_by_bound:
        figures = replace(figures, declared_lengths=size[1])
    gains = summary(model, layers, figures)
    return Measurement(gains, worst, poles(frozen, inputs, lengths), known_pairs(tighter))


def summary(model: SequenceModel, layers: list[LayerGains], network: NetworkGains) -> Gains:
    """The worst figures over the layers, with all layers and the network."""
    varying = any(layer.time_varying for layer in model.layers)
    return Gains(
        promised=_largest(g.promised for g in layers),
        declared=_largest(g.declared for g in layers),
        verified=_largest(g.verified for g in layers),
        attacked=max(g.attacked for g in layers),
        spectral_radius=max(g.spectral_radius for g in layers),
        margin=min(g.margin for g in layers),
        unproved=tuple(sorted({name for g in layers for name in g.unproved})),
        violations=(*violations(layers, network), *measure_violations(layers)),
        arithmetic=str(precision(model)).removeprefix("torch."),
        layers=tuple(layers),
        network=network,
        note=_joint_note(layers) if varying else "",
        frozen=max(g.frozen or 0.0 for g in layers) if varying else None,
    )


def _joint_note(layers: Iterable[LayerGains]) -> str:
    """What the notes of time-varying layers say together."""
    varying = [layer for layer in layers if layer.verified is None]
    if all(layer.declared is not None for layer in varying):
        return PROVED_ONLY
    return FROZEN_ONLY


def _signals(
    frozen: SequenceModel, inputs: Tensor, lengths: Tensor | None
) -> tuple[SignalMap, Float[Tensor, "n L d"]]:
    """As :func:`~ssmbench.nn.encoded.gain_map`; zeros if a parameter is not finite, since nothing
    can be encoded then."""
    if is_finite(frozen):
        return gain_map(frozen, inputs, lengths)
    steps = inputs.shape[2 if frozen.decoder.reads is Reading.pair else 1]
    return frozen, torch.zeros(1, steps, 1, device=inputs.device)


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest figure of all layers; None if a layer does not have it."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return max(known) if len(known) == len(listed) else None


def _measure_layer(
    layer: SSMLayer,
    frozen: SSMLayer,
    u: LayerInput | None,
    length: int,
    config: AnalysisConfig,
) -> LayerGains:
    if layer.time_varying:
        return _measure_varying(frozen, u, config)
    return proved_gains(
        layer, attack_layer(frozen, length, config) if is_finite(layer) else math.inf
    )


def _with_measures(layer: SSMLayer, gains: LayerGains, config: AnalysisConfig) -> LayerGains:
    return replace(gains, measures=layer_measures(layer, config.measures))


def proved_gains(layer: SSMLayer, attacked: float) -> LayerGains:
    """The figures of a layer that is not time-varying, all of which but the ``attacked`` gain
    follow from its matrices."""
    report = analyse_layer(layer)
    assert report.spectral_radius is not None, "the system of a layer is discrete"
    return LayerGains(
        declared=declared_gain(layer),
        verified=report.hinf,
        attacked=attacked,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
        promised=_declared_before_sampling(layer),
        verified_bound=report.hinf_upper_bound,
        rounding=_rounding(layer),
        note=layer.undeclared_reason(),
        unproved=tuple(_FIGURES[name] for name in report.unproved if name in _FIGURES),
    )


def _rounding(layer: SSMLayer) -> float:
    if not is_finite(layer):
        return math.inf
    with torch.no_grad():
        return float(rounding_gain(layer.system().to("cpu")).max())


def _declared_before_sampling(layer: SSMLayer) -> float | None:
    """The declared gain of the continuous system; None if there is none, or if a normaliser sets
    the gain of the discrete one."""
    if layer.discretizer is None or layer.normaliser is not None:
        return None
    return layer.parametrization.declared_gain() if is_finite(layer) else math.inf


def _measure_varying(layer: SSMLayer, u: LayerInput | None, config: AnalysisConfig) -> LayerGains:
    if u is None:
        return LayerGains(
            declared=None,
            verified=None,
            attacked=math.inf,
            peak_frequency=0.0,
            spectral_radius=math.inf,
            margin=-math.inf,
            frozen=math.inf,
            note=f"{FROZEN_ONLY}; {_NOT_FINITE}",
            claim=layer.gain_claim.value,
        )
    report = frozen_report(layer, u)
    zero_state = layer.gain_claim is GainClaim.zero_state
    attacked, incremental = attack_varying(layer, u, config)
    return LayerGains(
        declared=declared_gain(layer),
        verified=None,
        attacked=attacked if zero_state else incremental,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
        frozen=report.gain,
        note=_note(layer),
        claim=layer.gain_claim.value,
        attacked_incremental=incremental if zero_state else None,
    )


def _note(layer: SSMLayer) -> str:
    """That a time-varying layer has nothing verified, and what it declares or why it does not."""
    if layer.declared_gain() is not None:
        return f"{PROVED_ONLY} ({layer.gain_claim.value})"
    return "; ".join(filter(None, (FROZEN_ONLY, layer.undeclared_reason())))


def _measure_network(
    network: SignalMap,
    bounds: Bounds,
    inputs: Float[Tensor, "n L m"],
    config: AnalysisConfig,
) -> tuple[NetworkGains, Attack | None]:
    model = network.network if isinstance(network, AfterEncoder) else network
    bound, from_zero_bound = bounds.least, bounds.from_zero
    if not is_finite(model):
        return _network_not_finite(model, bound.reason), None
    if bound.value > torch.finfo(inputs.dtype).max:  # nothing so large can be observed
        bound = Bound.none(bound.reason or "the bound overflows")
    exact = exact_map(network, inputs)
    found = attack_network(network, exact, inputs, config)
    from_zero = found.gains[: zero_input_starts(config)].max().item()
    reason = _why_no_zero_state(exact or network, inputs[:1])
    unbounded = from_zero_bound.reason if from_zero_bound else ""
    figures = NetworkGains(
        declared=model.declared_gain,
        bound=bound.value,
        reason=bound.reason,
        attacked=found.worst.gain,
        attacked_from_zero=from_zero,
        zero_state=None if reason else from_zero,
        zero_state_reason=reason or unbounded,
        gains_from=model.gains_from.value,
        claim=model.gain_claim.value,
        zero_state_bound=from_zero_bound.value if from_zero_bound and not unbounded else None,
    )
    return bounds.noted(figures), found.worst


def _network_not_finite(model: SequenceModel, reason: str) -> NetworkGains:
    """The gains of a network with a parameter that is not finite."""
    return NetworkGains(
        declared=model.declared_gain,
        bound=math.inf,
        reason=reason or _NOT_FINITE,
        attacked=math.inf,
        attacked_from_zero=math.inf,
        zero_state_reason=_NOT_FINITE,
        gains_from=model.gains_from.value,
        claim=model.gain_claim.value,
    )


def _why_no_zero_state(model: SignalMap, like: Float[Tensor, "1 L m"]) -> str:
    """Why there is no zero-state gain; "" if f(0) = 0."""
    with torch.no_grad():
        offset = model(torch.zeros_like(like, dtype=precision(model))).double().norm().item()
    learned = any(layer.x0 is not None for layer in model.layers)
    source = " (it starts from a learned state)" if learned else ""
    reason = f"||f(0)|| is {offset:.4g}, not 0{source}: from zero input it is incremental"
    return reason if offset else ""
