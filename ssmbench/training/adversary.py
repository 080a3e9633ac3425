"""The adversary of networks and of layers: where it starts, and what it runs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ssmbench.analysis.attack import Attacks, Map, attacks
from ssmbench.config import AnalysisConfig
from ssmbench.nn.freeze import exact_layer
from ssmbench.nn.layer import SSMLayer

#: Norms of disturbances of zero input, and of bases that move (alternately: small ones for smooth
#: maps, large ones that reach beyond the kinks of others), as multiples of a typical input's norm.
_STILL_AMPLITUDES = (0.03, 3.0)
_MOVING_AMPLITUDES = (0.003, 0.3)
#: Sizes of constant bases, and factors of data; first moves, in sizes of the base.
_CONSTANTS = (0.1, 30.0)
_DATA_FACTORS = (1.0, 0.3, 3.0)
_BASE_STEP = 0.1
#: Moving bases for each restart: most of them are dropped early.
_CANDIDATES = 3


def attack_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> float:
    """The gain of the layer as it runs, on the disturbances of zero input found in float64."""
    system = layer.system()
    width = system.heads * system.inputs
    zeros = system.D.real.new_zeros(config.attack_restarts, length, width)
    exact = exact_layer(layer, zeros[:1])
    ascended, start = (layer, zeros) if exact is None else (exact, zeros.double())
    amplitude = zeros.new_ones(config.attack_restarts)
    found = attacks(ascended, start, amplitude, steps=config.attack_steps, seed=config.attack_seed)
    return found.to(zeros.dtype).measured_by(layer).worst.gain


def attack_network(
    network: Map,
    exact: Map | None,
    inputs: Float[Tensor, "n L m"],
    config: AnalysisConfig,
) -> Attacks:
    """The first ``zero_input_starts(config)`` starts disturb zero input, which stays the base; the
    others disturb constants and data, which move.

    ``network`` is any map of sequences, on the device of ``inputs``; ``exact`` is the same in
    float64, if there is one. The starts are computed on the CPU: they are those of any device.
    """
    fixed = zero_input_starts(config)
    candidates = _CANDIDATES * config.attack_restarts
    size = _typical_norm(inputs)
    moving = _moving_bases(inputs, size, candidates)
    base = torch.cat([inputs.new_zeros(fixed, *inputs.shape[1:]), moving])
    alternating = _tensor(_MOVING_AMPLITUDES).double()[_indices(candidates) // 2 % 2]
    amplitude = torch.cat([_log_spaced(*_STILL_AMPLITUDES, fixed), alternating])
    norms = torch.linalg.vector_norm(base.double(), dim=(1, 2)).cpu()
    step = _BASE_STEP * norms.clamp_min(size) * (_indices(len(base)) >= fixed)
    return attacks(
        network,
        base,
        size * amplitude,
        steps=config.attack_steps,
        seed=config.attack_seed,
        base_step=step,
        exact=exact,
    )


def zero_input_starts(config: AnalysisConfig) -> int:
    """How many of the starts of :func:`attack_network`, the first ones, disturb zero input."""
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
    which = _indices(number - constants)
    factors = _tensor(_DATA_FACTORS)[which // len(inputs) % len(_DATA_FACTORS)]
    return torch.cat([flat, factors.to(inputs)[:, None, None] * inputs[which % len(inputs)]])


def _log_spaced(low: float, high: float, number: int) -> Float[Tensor, " number"]:
    ends = math.log(low), math.log(high)
    return torch.linspace(*ends, number, dtype=torch.float64, device="cpu").exp()


def _indices(number: int) -> Int64[Tensor, " number"]:
    return torch.arange(number, device="cpu")


def _tensor(values: tuple[float, ...]) -> Float[Tensor, " n"]:
    return torch.tensor(values, dtype=torch.float32, device="cpu")
