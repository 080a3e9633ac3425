"""The three gains of a trained network: declared, verified, attacked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from ssmbench.analysis.attack import Attack
from ssmbench.analysis.certificate import TOLERANCE, Bound, GainClaim
from ssmbench.analysis.network_bound import NetworkBound
from ssmbench.analysis.pair_gains import PairGains
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

#: Figures of a layer, by their names in an analysis.
_FIGURES = {"hinf": "verified", "spectral_radius": "spectral_radius", "margin": "margin"}
#: Above this gain float32 may overflow for signals of norm 1, so that an attacked gain of infinity
#: contradicts no verified one.
_OVERFLOW_GAIN = torch.finfo(torch.float32).max / 16
#: What is known of a time-varying layer that declares a gain.
PROVED_ONLY = (
    "time-varying: no matrices to verify; the declared gain is proved for all parameter values"
)
_NOT_FINITE = "a parameter is not finite"
UNPROVED = Bound.none("the gain of an SSM layer could not be proved")


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
) -> Measurement:
    """The gains of a model in evaluation mode, with the worst input that was found.

    ``inputs`` and ``lengths`` are those of a batch of the task. The attack runs on the model's
    device, to which the inputs are moved; declared and verified gains and poles are computed on the
    CPU, from the layers' matrices. :class:`~ssmbench.results.Gains` defines the figures.
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
    composed, shortest = _worst_bound(model, layers, steps, lengths)
    size = signals.shape[2], batch_lengths(steps, lengths)
    tighter = tighter_bound(
        frozen, composed, proved_layer_gains(layers), *size, config.network_bound
    )
    claims_it = model.gain_claim is GainClaim.zero_state
    from_zero = zero_state_bound(model, layers, shortest) if claims_it else None
    bounds = Bounds(composed, tighter, from_zero)
    figures, worst = _measure_network(network, bounds, signals[:, :shortest], config)
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


def _worst_bound(
    model: SequenceModel, layers: list[LayerGains], length: int, lengths: Tensor | None
) -> tuple[Bound, int]:
    """The network's largest bound over all ``lengths``, and the length at which it holds: the mean
    over a short sequence may have a larger gain than that over a long one."""
    shortest = length if lengths is None else int(lengths.min())
    zero_state = model.gain_claim is GainClaim.zero_state
    figure = zero_state_bound if zero_state else composed_bound
    bound, of_shortest = figure(model, layers, length), figure(model, layers, shortest)
    if zero_state:
        steps = shortest if of_shortest.value > bound.value else length
        return composed_bound(model, layers, steps), steps
    return (of_shortest, shortest) if of_shortest.value > bound.value else (bound, length)


def composed_bound(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound, from the proved bounds of its layers."""
    bound = model.bound(proved_layer_gains(layers), length)
    return UNPROVED if any(map(_is_unproved, layers)) else bound


def zero_state_bound(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound on ``||f(u)|| / ||u||``, from the proved bounds of its layers and from
    what time-varying ones declare."""
    bound = model.zero_state_bound(proved_layer_gains(layers), length)
    return UNPROVED if any(map(_is_unproved, layers)) else bound


def proved_layer_gains(layers: Iterable[LayerGains]) -> list[float | None]:
    """The proved bound of each layer; of a time-varying one, of which nothing can be verified, what
    its parametrization declares by a proof for all parameter values."""
    return [g.declared if g.verified is None else g.verified_bound for g in layers]


@dataclass(frozen=True)
class KnownPairs:
    """Gains to differences of outputs, for sequences of exactly ``steps`` steps."""

    gains: PairGains
    steps: int


def known_pairs(tighter: NetworkBound) -> KnownPairs | None:
    """What the tighter bound says of differences of outputs, where all sequences are of one
    length."""
    if len(tighter.lengths) != 1 or not tighter.ellipsoids:
        return None
    S = torch.from_numpy(tighter.ellipsoids[0])
    return KnownPairs(PairGains.of_ellipsoid(S), tighter.lengths[0])


def proved_pairs(
    model: SequenceModel, layers: Sequence[LayerGains], length: int
) -> PairGains | None:
    """As :func:`composed_bound`, to differences of outputs; None where that is infinite."""
    if any(map(_is_unproved, layers)):
        return None
    return model.pair_gains(proved_layer_gains(layers), length)


def _is_unproved(layer: LayerGains) -> bool:
    """Whether the layer's gain is finite, but no finite bound of it could be proved."""
    if layer.verified is None:
        return False
    return math.isfinite(layer.verified) and layer.verified_bound == math.inf


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest figure of all layers; None if a layer does not have it."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return max(known) if len(known) == len(listed) else None


def violations(layers: Sequence[LayerGains], network: NetworkGains) -> list[str]:
    """One sentence for each violation of declared >= verified >= attacked.

    The network's bound is composed of bounds that exceed the layers' gains by what their proofs
    leave open; by so much it may exceed the declared gain.
    """
    found = []
    for index, gains in enumerate(layers):
        if gains.verified is None:
            if gains.declared is not None and gains.attacked > gains.declared * (1 + TOLERANCE):
                found.append(
                    f"layer {index}: attacked {gains.attacked:g} > declared {gains.declared:g}"
                )
            continue
        if gains.declared is not None and gains.verified > gains.declared * (1 + TOLERANCE):
            found.append(
                f"layer {index}: verified {gains.verified:g} > declared {gains.declared:g}"
            )
        overflow = math.isinf(gains.attacked) and gains.verified > _OVERFLOW_GAIN
        if gains.attacked > gains.verified * (1 + TOLERANCE) and not overflow:
            found.append(
                f"layer {index}: attacked {gains.attacked:g} > verified {gains.verified:g}"
            )
    declared, bound, attacked = network.declared, network.bound, network.attacked
    # a tighter bound holds for some lengths only, and so does not excuse the composed one
    composed = bound if network.product_bound is None else network.product_bound
    if network.claim == GainClaim.zero_state.value:
        composed = bound = (
            math.inf if network.zero_state_bound is None else network.zero_state_bound
        )
        attacked = network.zero_state or 0.0
    if declared is not None and composed > declared * (1 + TOLERANCE) * _left_open(layers):
        found.append(f"network: bound {composed:g} > declared {declared:g}")
    if attacked > bound * (1 + TOLERANCE):
        found.append(f"network: attacked {attacked:g} > bound {bound:g}")
    return found


def _left_open(layers: Iterable[LayerGains]) -> float:
    """The product, over the layers, of the proved bound relative to the verified gain."""
    open_ = (
        max(1.0, layer.verified_bound / layer.verified)
        for layer in layers
        if layer.verified and layer.verified_bound is not None
    )
    return math.prod(open_, start=1.0)


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
        declared=model.gamma,
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
        declared=model.gamma,
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
