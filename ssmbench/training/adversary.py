"""The adversary's starts, and the maps in float64 that it ascends in, for networks and layers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.attack import Attacks, Map, attacks
from ssmbench.config import AnalysisConfig
from ssmbench.nn.freeze import exact_layer
from ssmbench.nn.layer import SSMLayer

#: Norms of disturbances of silence, and of bases that move (in turn: small ones for smooth maps,
#: large ones that reach beyond the kinks of others); all sizes are in typical inputs.
_STILL_AMPLITUDES = (0.03, 3.0)
_MOVING_AMPLITUDES = (0.003, 0.3)
#: Sizes of constant bases, and factors of data; first moves, in sizes of the base.
_CONSTANTS = (0.1, 30.0)
_DATA_FACTORS = (1.0, 0.3, 3.0)
_BASE_STEP = 0.1
#: Moving bases for each restart: most of them are dropped early.
_CANDIDATES = 3


def attack_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> float:
    """What the layer as it runs makes of the disturbances that were found in float64."""
    system = layer.system()
    width = system.heads * system.inputs
    silence = system.D.real.new_zeros(config.attack_restarts, length, width)
    exact = exact_layer(layer, silence[:1])
    ascended, start = (layer, silence) if exact is None else (exact, silence.double())
    amplitude = torch.ones(config.attack_restarts)
    budget = {"steps": config.attack_steps, "seed": config.attack_seed}
    found = attacks(ascended, start, amplitude, **budget)
    return found.to(silence.dtype).measured_by(layer).worst.gain


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
