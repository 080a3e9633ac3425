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

from ssmbench.analysis.attack import Attack, Attacks, Map, attacks
from ssmbench.analysis.certificate import TOLERANCE, Bound
from ssmbench.analysis.gain import FrozenReport, GainReport, analyse, analyse_frozen, stability
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.config import AnalysisConfig
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel, is_finite
from ssmbench.systems import FROZEN_ONLY

#: Norms of disturbances of silence, and of bases that move (in turn: small ones for smooth maps,
#: large ones that reach beyond the kinks of others); all sizes are in typical inputs.
_STILL_AMPLITUDES = (0.03, 3.0)
_MOVING_AMPLITUDES = (0.003, 0.3)
#: Sizes of constant bases, and factors of data; first moves, in sizes of the base.
_CONSTANTS = (0.1, 30.0)
_DATA_FACTORS = (1.0, 0.3, 3.0)
_BASE_STEP = 0.1
#: Bases that move, for each restart: most of them are soon given up.
_CANDIDATES = 3
_LOST = "a parameter is not finite"
#: Sequences that time-varying layers are looked at with: their systems follow from the input.
FROZEN_SEQUENCES = 2


@dataclass(frozen=True)
class LayerGains:
    """One SSM layer: gains from its input to its output, and its poles.

    ``promised`` is what its parametrization declares of the continuous system, before sampling.
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


def layer_figures(layer: SSMLayer, u: Tensor | None = None) -> dict[str, float]:
    """What is cheap enough to watch in training: spectral radius, margin, verified gain.

    Of a time-varying layer, the frozen gain takes the place of the verified one, where there is an
    input u (B, L, d_model); nothing where there is none.
    """
    gain = "frozen_gain" if layer.time_varying else "verified_gain"
    if not is_finite(layer):
        return {"spectral_radius": math.inf, "margin": -math.inf, gain: math.inf}
    if layer.time_varying:
        report = _frozen(layer, u)
        if report is None:
            return {}
        extent = {"spectral_radius": report.spectral_radius, "margin": report.margin}
        return extent | {gain: report.gain}
    with torch.no_grad():
        system = layer.system().double()
        poles = stability(system)
        return {
            "spectral_radius": poles["spectral_radius"],
            "margin": poles["margin"],
            "verified_gain": float(hinf_norm(system).norm.max()),
        }


def gain_figures(model: SequenceModel, inputs: Tensor | None = None) -> dict[str, float]:
    """What is logged in training: the figures of every layer, and its declared gain if it has one.

    Keys ``layer0/verified_gain`` and so on. ``inputs`` (n, L, m) are for time-varying layers.
    """
    figures: dict[str, float] = {}
    for index, (layer, u) in enumerate(
        zip(model.layers, _layer_inputs(model, inputs), strict=True)
    ):
        figures |= {f"layer{index}/{k}": v for k, v in layer_figures(layer, u).items()}
        declared = declared_gain(layer)
        if declared is not None:
            figures[f"layer{index}/declared_gain"] = declared
    return figures


def declared_gain(layer: SSMLayer) -> float | None:
    """What the parametrization declares; infinite where its parameters are not finite numbers."""
    return layer.declared_gain() if is_finite(layer) else math.inf


@dataclass(frozen=True)
class Measurement:
    """``gain``: a result's part of that name. ``worst``: the network's worst input, if any.
    ``poles``: as from :func:`poles`."""

    gain: dict[str, Any]
    worst: Attack | None
    poles: list[Complex[Tensor, " _"]]


def measure(
    model: SequenceModel, inputs: Float[Tensor, "n L m"], config: AnalysisConfig
) -> dict[str, Any]:
    """The ``gain`` part of :func:`examine`."""
    return examine(model, inputs, config).gain


def examine(
    model: SequenceModel, inputs: Float[Tensor, "n L m"], config: AnalysisConfig
) -> Measurement:
    """The gains of a model in evaluation mode, with the worst input that was found.

    ``declared``, ``verified`` and ``attacked`` are the largest over the SSM layers, each from the
    layer's input to its output; ``promised`` is declared of the continuous systems, before a
    discretizer that may break it; ``network`` has the incremental gain from u to the prediction:
    what ``model.gamma`` declares, an upper bound composed from the verified layers, and what the
    adversary found. A *zero-state*
    gain ``||f(u)|| / ||u||`` exists only where f(0) = 0; elsewhere it is None, with the reason,
    and what was found from silence is incremental.
    """
    frozen = freeze(model)
    length = inputs.shape[1]
    seen = _layer_inputs(frozen, inputs)
    pairs = zip(model.layers, frozen.layers, seen, strict=True)
    layers = [_measure_layer(layer, still, u, length, config) for layer, still, u in pairs]
    bound = model.bound([g.verified for g in layers], length)
    network, worst = _measure_network(frozen, bound, inputs, config)
    gain = {
        "promised": _largest(g.promised for g in layers),
        "declared": _largest(g.declared for g in layers),
        "verified": _largest(g.verified for g in layers),
        "attacked": max(g.attacked for g in layers),
        "spectral_radius": max(g.spectral_radius for g in layers),
        "margin": min(g.margin for g in layers),
        "violations": violations(layers, network),
        "layers": [asdict(g) for g in layers],
        "network": network,
    }
    if any(layer.time_varying for layer in model.layers):
        gain |= {"note": FROZEN_ONLY, "frozen": max(g.frozen or 0.0 for g in layers)}
    return Measurement(gain, worst, poles(frozen, inputs))


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
        if gains.attacked > gains.verified * (1 + TOLERANCE):
            found.append(
                f"layer {index}: attacked {gains.attacked:g} > verified {gains.verified:g}"
            )
    promised = network.get("declared")
    if promised is not None and network["bound"] > promised * (1 + TOLERANCE):
        found.append(f"network: bound {network['bound']:g} > declared {promised:g}")
    if network["attacked"] > network["bound"] * (1 + TOLERANCE):
        found.append(f"network: attacked {network['attacked']:g} > bound {network['bound']:g}")
    return found


def poles(
    model: SequenceModel, inputs: Float[Tensor, "n L m"] | None = None
) -> list[Complex[Tensor, " _"]]:
    """The poles of each layer, complex128; one at infinity where its parameters are not finite.

    Of a time-varying layer, those of the systems that it is at some steps of its ``inputs``.
    """
    pairs = zip(model.layers, _layer_inputs(model, inputs), strict=True)
    with torch.no_grad():
        return [_poles(layer, u) for layer, u in pairs]


def _poles(layer: SSMLayer, u: Tensor | None) -> Complex[Tensor, " modes"]:
    if not is_finite(layer):
        return torch.full((1,), complex(math.inf, 0), dtype=torch.complex128)
    if not layer.time_varying:
        return layer.system().poles().flatten()
    report = _frozen(layer, u)
    return torch.empty(0, dtype=torch.complex128) if report is None else report.poles


def _layer_inputs(
    model: SequenceModel, inputs: Float[Tensor, "n L m"] | None
) -> list[Float[Tensor, "n L d"] | None]:
    """What each time-varying layer is given when the network, in evaluation mode, meets ``inputs``;
    None for the other layers, and where weights are lost."""
    varying = [layer for layer in model.layers if layer.time_varying]
    if inputs is None or not varying or not is_finite(model):
        return [None] * len(model.layers)
    caught: dict[SSMLayer, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: caught.update({layer: given[0]}))
        for layer in varying
    ]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(inputs.to(next(model.parameters()).device, precision(model)))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [caught.get(layer) for layer in model.layers]


def _frozen(layer: SSMLayer, u: Float[Tensor, "n L d"] | None) -> FrozenReport | None:
    if u is None:
        return None
    with torch.no_grad():
        return analyse_frozen(layer.system_for(u[:FROZEN_SEQUENCES]))


def _analyse(layer: SSMLayer) -> GainReport:
    if not is_finite(layer):  # there is no system to analyse: some factorizations would refuse
        return GainReport(
            time="discrete",
            stable=False,
            hinf=math.inf,
            hinf_upper_bound=math.inf,
            peak_frequency=0.0,
            h2=math.inf,
            margin=-math.inf,
            spectral_radius=math.inf,
        )
    with torch.no_grad():
        return analyse(layer.system())


def freeze(model: SequenceModel) -> SequenceModel:
    """A copy in evaluation mode whose layers keep their present systems, without gradients."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    for layer in filter(is_finite, frozen.layers):
        if not layer.time_varying:  # its system is the input's
            layer.hold(layer.system())
    return frozen


def exact_map(frozen: SequenceModel, inputs: Float[Tensor, "n L m"]) -> SequenceModel | None:
    """The same map in float64, with the very systems of ``frozen``; None where there is none."""
    exact = copy.deepcopy(frozen).double()
    for layer, still in zip(exact.layers, frozen.layers, strict=True):
        _hold_in_double(layer, still)
    return exact if _runs_in_double(exact, inputs) else None


def _exact_layer(frozen: SSMLayer, inputs: Float[Tensor, "n L d"]) -> SSMLayer | None:
    exact = copy.deepcopy(frozen).double()
    _hold_in_double(exact, frozen)
    return exact if _runs_in_double(exact, inputs) else None


def _hold_in_double(layer: SSMLayer, still: SSMLayer) -> None:
    if not layer.time_varying:
        layer.hold(still.system().double())


def _runs_in_double(exact: Map, inputs: Float[Tensor, "n L m"]) -> bool:
    try:
        output = exact(torch.zeros_like(inputs[:1], dtype=torch.float64))
    except RuntimeError:  # a plugin's part that knows float32 only: there is nothing to compare
        return False
    return output.dtype == torch.float64


def precision(model: SequenceModel) -> torch.dtype:
    """The real type that the network's signals have."""
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


def _measure_layer(
    layer: SSMLayer,
    frozen: SSMLayer,
    u: Float[Tensor, "n L d"] | None,
    length: int,
    config: AnalysisConfig,
) -> LayerGains:
    if layer.time_varying:
        return _measure_varying(frozen, u, config)
    report = _analyse(layer)
    return LayerGains(
        declared=declared_gain(layer),
        verified=report.hinf,
        attacked=attack_layer(frozen, length, config) if is_finite(layer) else math.inf,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
        promised=_promised(layer),
    )


def _promised(layer: SSMLayer) -> float | None:
    """What the discretizer alone may keep or break; None where there is nothing of the kind."""
    if layer.discretizer is None or layer.normaliser is not None:
        return None
    return layer.parametrization.declared_gain() if is_finite(layer) else math.inf


def _measure_varying(
    layer: SSMLayer, u: Float[Tensor, "n L d"] | None, config: AnalysisConfig
) -> LayerGains:
    report = _frozen(layer, u)
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


def attack_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> float:
    """What the layer as it runs makes of the disturbances that were found in float64."""
    system = layer.system()
    width = system.copies * system.inputs
    silence = system.D.real.new_zeros(config.attack_restarts, length, width)
    exact = _exact_layer(layer, silence[:1])
    ascended, start = (layer, silence) if exact is None else (exact, silence.double())
    amplitude = torch.ones(config.attack_restarts)
    budget = {"steps": config.attack_steps, "seed": config.attack_seed}
    found = attacks(ascended, start, amplitude, **budget)
    return found.to(silence.dtype).measured_by(layer).worst.gain


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


def attack_network(
    network: Map,
    exact: Map | None,
    inputs: Float[Tensor, "n L m"],
    config: AnalysisConfig,
) -> Attacks:
    """The first ``silent_starts(config)`` starts disturb silence, which stays; the others disturb
    constants and data, which move.

    ``network`` is any map of sequences; ``exact`` is the same in float64, if there is one.
    """
    silent = silent_starts(config)
    candidates = _CANDIDATES * config.attack_restarts
    size = _typical_norm(inputs)
    moving = _moving_bases(inputs, size, candidates)
    base = torch.cat([inputs.new_zeros(silent, *inputs.shape[1:]), moving])
    in_turn = torch.tensor(_MOVING_AMPLITUDES).double()[torch.arange(candidates) // 2 % 2]
    amplitude = torch.cat([_log_spaced(*_STILL_AMPLITUDES, silent), in_turn])
    norms = torch.linalg.vector_norm(base.double(), dim=(1, 2)).cpu()
    step = _BASE_STEP * norms.clamp_min(size) * (torch.arange(len(base)) >= silent)
    return attacks(
        network,
        base,
        size * amplitude,
        steps=config.attack_steps,
        seed=config.attack_seed,
        base_step=step,
        exact=exact,
    )


def silent_starts(config: AnalysisConfig) -> int:
    """How many of the starts of :func:`attack_network` disturb silence; they are its first."""
    return math.ceil(config.attack_restarts / 2)


def _typical_norm(inputs: Float[Tensor, "n L m"]) -> float:
    """Root mean square norm; of signals of root mean square 1 where all are zero."""
    norm = torch.linalg.vector_norm(inputs.double()).item() / math.sqrt(len(inputs))
    return norm or math.sqrt(inputs[0].numel())


def _moving_bases(
    inputs: Float[Tensor, "n L m"], size: float, number: int
) -> Float[Tensor, "number L m"]:
    """Every other one constant, of growing size and both signs; the others data, scaled."""
    constants = number // 2
    level = size / math.sqrt(inputs[0].numel())
    levels = level * _log_spaced(*_CONSTANTS, math.ceil(constants / 2))
    levels = torch.stack([levels, -levels], 1).flatten()[:constants]
    flat = levels.to(inputs)[:, None, None].expand(-1, *inputs.shape[1:])
    which = torch.arange(number - constants)
    factors = torch.tensor(_DATA_FACTORS)[which // len(inputs) % len(_DATA_FACTORS)]
    return torch.cat([flat, factors.to(inputs)[:, None, None] * inputs[which % len(inputs)]])


def _log_spaced(low: float, high: float, number: int) -> Float[Tensor, " number"]:
    return torch.linspace(math.log(low), math.log(high), number, dtype=torch.float64).exp()


def _why_no_zero_state(model: SequenceModel, like: Float[Tensor, "1 L m"]) -> str:
    """Why there is no zero-state gain; nothing where f(0) = 0."""
    with torch.no_grad():
        offset = model(torch.zeros_like(like, dtype=precision(model))).double().norm().item()
    learned = any(layer.x0 is not None for layer in model.layers)
    source = " (it starts from a learned state)" if learned else ""
    reason = f"||f(0)|| is {offset:.4g}, not 0{source}: from silence it is incremental"
    return reason if offset else ""
