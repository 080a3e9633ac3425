"""Small networks of every registered parametrization."""

from __future__ import annotations

import torch

from ssmbench import registry
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from tests.builders import (
    build_block,
    build_layer,
    build_model,
    build_nonlinearity,
    build_parametrization,
    discretizer_for,
)

NAMES = registry.parametrizations.names()
CONTINUOUS = [e.name for e in registry.parametrizations if e.factory.is_continuous()]
DISCRETE = [n for n in NAMES if n not in CONTINUOUS]
#: Those whose layers are linear maps with a gain; the others' systems follow from the input.
TIME_INVARIANT = [e.name for e in registry.parametrizations if not e.factory.is_time_varying()]
D_MODEL, INPUTS, OUTPUTS = 4, 2, 3
#: Fast dynamics, so that what a state holds shows within some ten steps.
SMALL = {"d_state": 6, "dt_min": 0.05, "dt_max": 0.5, "radius": 0.95}


def layer_of(
    name: str,
    discretizer: str = "zoh",
    initial_state: InitialState = InitialState.zero,
) -> SSMLayer:
    """A layer with fresh parameters; discrete parametrizations ignore the discretizer."""
    module = build_parametrization(name, D_MODEL, **SMALL)
    return build_layer(module, discretizer_for(name, discretizer), initial_state=initial_state)


def network(
    name: str,
    *,
    bidirectional: bool = False,
    learned: bool = False,
    pooling: Pooling | None = None,
    nonlinearity: str = "gelu",
    layers: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    gamma: float | None = None,
    **options,
) -> SequenceModel:
    """In evaluation mode; learned initial states are drawn at random."""
    torch.manual_seed(seed)
    start = InitialState.learned if learned else InitialState.zero
    blocks = [
        build_block(
            layer_of(name, initial_state=start),
            build_nonlinearity(nonlinearity, D_MODEL),
            D_MODEL,
            reverse_layer=layer_of(name, initial_state=start) if bidirectional else None,
            bounded=gamma is not None,
            **options,
        )
        for _ in range(layers)
    ]
    sizes = {"inputs": INPUTS, "d_model": D_MODEL, "outputs": OUTPUTS}
    model = build_model(blocks, pooling=pooling, gamma=gamma, **sizes).to(dtype).eval()
    with torch.no_grad():
        for layer in model.layers:
            if layer.x0 is not None:
                layer.x0.normal_()
    return model


def signal(batch: int, length: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """White noise (batch, length, INPUTS), the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, INPUTS, dtype=dtype, generator=generator)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()
