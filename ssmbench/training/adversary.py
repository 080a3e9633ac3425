"""The attack on networks and on layers: its initial bases and disturbances."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ssmbench.analysis.attack import Attacks, Map, attacks
from ssmbench.analysis.selected_gain import selected_gain
from ssmbench.config import AnalysisConfig
from ssmbench.nn.freeze import exact_layer
from ssmbench.nn.layer import SSMLayer
from ssmbench.training.layer_analysis import LayerInput

#: Norms of the disturbances of zero input, as multiples of a typical input's norm: log-spaced
#: between these two.
_FIXED_AMPLITUDES = (0.03, 3.0)
#: Norms of the disturbances of moving bases, in alternation: small ones for smooth maps, and large
#: ones that reach past the kinks of piecewise smooth maps.
_MOVING_AMPLITUDES = (0.003, 0.3)
#: The smallest and the largest constant base, as multiples of the root mean square of the data.
_CONSTANTS = (0.1, 30.0)
#: Factors by which sequences of the data are multiplied to get further bases.
_DATA_FACTORS = (1.0, 0.3, 3.0)
#: Norm of the first move of a base, relative to the norm of the base.
_BASE_STEP = 0.1
#: Number of moving bases per restart; successive halving ends most of them early.
_CANDIDATES = 3


def attack_layer(layer: SSMLayer, length: int, config: AnalysisConfig) -> float:
    """The largest gain found of a layer around zero input of ``length`` steps.

    The ascent runs in float64 if the layer can; the gain is that in the layer's own precision.
    """
    system = layer.system()
    width = system.heads * system.inputs
    zeros = system.D.real.new_zeros(config.attack_restarts, length, width)
    exact = exact_layer(layer, zeros[:1])
    function, base = (layer, zeros) if exact is None else (exact, zeros.double())
    amplitude = zeros.new_ones(config.attack_restarts)
    found = attacks(function, base, amplitude, steps=config.attack_steps, seed=config.attack_seed)
    return found.to(zeros.dtype).measured_by(layer).worst.gain


def attack_varying(
    layer: SSMLayer, given: LayerInput, config: AnalysisConfig
) -> tuple[float, float]:
    """The largest zero-state and the largest incremental gain found of a time-varying layer, on the
    bases of :func:`attack_network` around its input; where a signal apart from the input selects,
    of the linear maps that the best selection found makes of it, whose two gains are the same."""
    if given.selection is not None:
        size = (config.attack_restarts, config.attack_steps, config.attack_seed)
        found = selected_gain(layer_map(layer), given.u, given.selection, *size)
        return found, found
    found = attack_network(layer, copy.deepcopy(layer).double(), given.u, config)
    from_zero = found.gains[: zero_input_starts(config)].max().item()
    return from_zero, found.worst.gain


def layer_map(layer: SSMLayer) -> Callable[[Tensor, Tensor], Tensor]:
    """The layer as a map of its input and of what selects."""
    return lambda u, selection: layer(u, None, selection)


def attack_network(
    network: Map,
    exact: Map | None,
    inputs: Float[Tensor, "n L m"],
    config: AnalysisConfig,
) -> Attacks:
    """The largest incremental gain found of a network from each start.

    The base of the first ``zero_input_starts(config)`` starts is zero input, and stays so. The
    bases of the others are constants and scaled sequences of ``inputs``, and move.

    ``network`` is any map of sequences, on the device of ``inputs``; ``exact`` is the same map in
    float64, or None. The starts are computed on the CPU, so that they are the same on any device.
    """
    fixed = zero_input_starts(config)
    candidates = _CANDIDATES * config.attack_restarts
    size = _typical_norm(inputs)
    moving = _moving_bases(inputs, size, candidates)
    base = torch.cat([inputs.new_zeros(fixed, *inputs.shape[1:]), moving])
    alternating = _tensor(_MOVING_AMPLITUDES).double()[_indices(candidates) // 2 % 2]
    amplitude = torch.cat([_log_spaced(*_FIXED_AMPLITUDES, fixed), alternating])
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
    """Number of starts of :func:`attack_network` around zero input; they are the first ones."""
    return math.ceil(config.attack_restarts / 2)


def _typical_norm(inputs: Float[Tensor, "n L m"]) -> float:
    """Root mean square of the sequences' l2 norms; if all are zero, the norm of a sequence whose
    root mean square is 1."""
    norm = torch.linalg.vector_norm(inputs.double()).item() / math.sqrt(len(inputs))
    return norm or math.sqrt(inputs[0].numel())


def _moving_bases(
    inputs: Float[Tensor, "n L m"], size: float, number: int
) -> Float[Tensor, "number L m"]:
    """Half of them constants of both signs and growing size, the others scaled data."""
    constants = number // 2
    level = size / math.sqrt(inputs[0].numel())
    levels = level * _log_spaced(*_CONSTANTS, math.ceil(constants / 2))
    levels = torch.stack([levels, -levels], 1).flatten()[:constants]
    constant = levels.to(inputs)[:, None, None].expand(-1, *inputs.shape[1:])
    index = _indices(number - constants)
    factors = _tensor(_DATA_FACTORS)[index // len(inputs) % len(_DATA_FACTORS)]
    return torch.cat([constant, factors.to(inputs)[:, None, None] * inputs[index % len(inputs)]])


def _log_spaced(low: float, high: float, number: int) -> Float[Tensor, " number"]:
    ends = math.log(low), math.log(high)
    return torch.linspace(*ends, number, dtype=torch.float64, device="cpu").exp()


def _indices(number: int) -> Int64[Tensor, " number"]:
    return torch.arange(number, device="cpu")


def _tensor(values: tuple[float, ...]) -> Float[Tensor, " n"]:
    return torch.tensor(values, dtype=torch.float32, device="cpu")
