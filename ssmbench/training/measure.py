"""The three gains of a trained network: declared, verified, attacked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.analysis.attack import attack
from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.gain import GainReport, analyse, stability
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.config import AnalysisConfig
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel, is_finite

#: Rounding of float32 matrices and signals may move a gain this much, relatively.
TOLERANCE = 1e-4
_AMPLITUDES = (0.03, 3.0)
_LOST = "a parameter is not finite"


@dataclass(frozen=True)
class LayerGains:
    """One SSM layer: gains from its input to its output, and its poles."""

    declared: float | None
    verified: float
    attacked: float
    peak_frequency: float
    spectral_radius: float
    margin: float


def layer_figures(layer: SSMLayer) -> dict[str, float]:
    """What is cheap enough to watch in training: spectral radius, margin, verified gain."""
    if not is_finite(layer):
        return {"spectral_radius": math.inf, "margin": -math.inf, "verified_gain": math.inf}
    with torch.no_grad():
        system = layer.system().double()
        poles = stability(system)
        return {
            "spectral_radius": poles["spectral_radius"],
            "margin": poles["margin"],
            "verified_gain": float(hinf_norm(system).norm.max()),
        }


def gain_figures(model: SequenceModel) -> dict[str, float]:
    """What is logged in training: the figures of every layer, and its declared gain if it has one.

    Keys ``layer0/verified_gain`` and so on.
    """
    figures: dict[str, float] = {}
    for index, layer in enumerate(model.layers):
        figures |= {f"layer{index}/{k}": v for k, v in layer_figures(layer).items()}
        declared = declared_gain(layer)
        if declared is not None:
            figures[f"layer{index}/declared_gain"] = declared
    return figures


def declared_gain(layer: SSMLayer) -> float | None:
    """What the parametrization declares; infinite where its parameters are not finite numbers."""
    return layer.declared_gain() if is_finite(layer) else math.inf


def measure(
    model: SequenceModel, inputs: Float[Tensor, "n L m"], config: AnalysisConfig
) -> dict[str, Any]:
    """The ``gain`` part of a result, for a model in evaluation mode.

    ``declared``, ``verified`` and ``attacked`` are the largest over the SSM layers, each from the
    layer's input to its output; ``network`` has the incremental gain from u to the prediction: an
    upper bound composed from the verified layers, and what the adversary found.
    """
    was_training = model.training
    model.eval()
    length = inputs.shape[1]
    layers = [_measure_layer(layer, length, config) for layer in model.layers]
    network = _measure_network(model, [g.verified for g in layers], inputs, config)
    model.train(was_training)
    declared = [g.declared for g in layers]
    return {
        "declared": None if None in declared else max(declared),
        "verified": max(g.verified for g in layers),
        "attacked": max(g.attacked for g in layers),
        "spectral_radius": max(g.spectral_radius for g in layers),
        "margin": min(g.margin for g in layers),
        "violations": violations(layers, network),
        "layers": [asdict(g) for g in layers],
        "network": network,
    }


def violations(layers: list[LayerGains], network: dict[str, Any]) -> list[str]:
    """Every place where declared >= verified >= attacked does not hold, as a sentence."""
    found = []
    for index, gains in enumerate(layers):
        if gains.declared is not None and gains.verified > gains.declared * (1 + TOLERANCE):
            found.append(
                f"layer {index}: verified {gains.verified:g} > declared {gains.declared:g}"
            )
        if gains.attacked > gains.verified * (1 + TOLERANCE):
            found.append(
                f"layer {index}: attacked {gains.attacked:g} > verified {gains.verified:g}"
            )
    if network["attacked"] > network["bound"] * (1 + TOLERANCE):
        found.append(f"network: attacked {network['attacked']:g} > bound {network['bound']:g}")
    return found


def poles(model: SequenceModel) -> list[Complex[Tensor, " modes"]]:
    """The poles of each layer, complex128; one at infinity where its parameters are not finite."""
    at_infinity = torch.full((1,), complex(math.inf, 0), dtype=torch.complex128)
    with torch.no_grad():
        return [
            layer.system().poles().flatten() if is_finite(layer) else at_infinity
            for layer in model.layers
        ]


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


def _measure_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> LayerGains:
    report = _analyse(layer)
    return LayerGains(
        declared=declared_gain(layer),
        verified=report.hinf,
        attacked=_attack_layer(layer, length, config) if is_finite(layer) else math.inf,
        peak_frequency=report.peak_frequency,
        spectral_radius=report.spectral_radius,
        margin=report.margin,
    )


def _attack_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> float:
    with torch.no_grad():
        system = layer.system()
    width = system.copies * system.inputs
    silence = system.D.real.new_zeros(config.attack_restarts, length, width)
    amplitude = torch.ones(config.attack_restarts)
    found = attack(layer, silence, amplitude, steps=config.attack_steps, seed=config.attack_seed)
    return found.gain


def _measure_network(
    model: SequenceModel, layer_gains: list[float], inputs: Tensor, config: AnalysisConfig
) -> dict[str, Any]:
    bound = model.bound(layer_gains, inputs.shape[1])
    if not is_finite(model):
        return {"bound": math.inf, "reason": bound.reason or _LOST, "attacked": math.inf}
    inputs = inputs.to(model.encoder.weight.dtype)
    if bound.value > torch.finfo(inputs.dtype).max:  # nothing so large can be observed
        bound = Bound.none(bound.reason or "the bound overflows")
    base = inputs[torch.arange(config.attack_restarts) % len(inputs)].clone()
    base[::2] = 0  # half of the restarts disturb silence, half disturb data
    typical = torch.linalg.vector_norm(inputs.double()).item() / math.sqrt(len(inputs))
    low, high = (math.log(max(typical, 1e-6) * a) for a in _AMPLITUDES)
    amplitude = torch.linspace(low, high, config.attack_restarts).exp()
    found = attack(model, base, amplitude, steps=config.attack_steps, seed=config.attack_seed)
    return {"bound": bound.value, "reason": bound.reason, "attacked": found.gain}
