"""Small networks of every registered parametrization."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from ssmbench import registry
from ssmbench.build.ends import build_decoder, build_encoder
from ssmbench.config import ModelConfig, RunConfig
from ssmbench.nn.block import Block
from ssmbench.nn.layer import InitialState, SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Channels, TaskSizes

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
    entry = registry.parametrizations.get(name)
    known = {f.name for f in dataclasses.fields(entry.config)}
    config = entry.config(**{k: v for k, v in SMALL.items() if k in known})
    method = registry.discretizers.get(discretizer).build() if name in CONTINUOUS else None
    scan = registry.scans.get("auto").build()
    module = entry.build(config, d_model=D_MODEL)
    return SSMLayer(module, method, scan, initial_state=initial_state)


def channel_model(
    blocks: Iterable[Block],
    *,
    inputs: int,
    d_model: int,
    outputs: int,
    pooling: Pooling | None = None,
    gamma: float | None = None,
) -> SequenceModel:
    """A network of channels, its ends as a run's config chooses them by default."""
    sizes = TaskSizes(Channels(inputs), outputs, length=1, per_step=pooling is None)
    model = ModelConfig(d_model=d_model, gamma=gamma)
    config = RunConfig(model=model)
    encoder = build_encoder(config, sizes)
    decoder = build_decoder(config, sizes, pooling or Pooling.mean)
    return SequenceModel(blocks, encoder=encoder, decoder=decoder, gamma=gamma)


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
    sigma = registry.nonlinearities.get(nonlinearity)
    blocks = [
        Block(
            layer_of(name, initial_state=start),
            sigma.build(d_model=D_MODEL),
            d_model=D_MODEL,
            reverse_layer=layer_of(name, initial_state=start) if bidirectional else None,
            bounded=gamma is not None,
            **options,
        )
        for _ in range(layers)
    ]
    sizes = {"inputs": INPUTS, "d_model": D_MODEL, "outputs": OUTPUTS}
    model = channel_model(blocks, pooling=pooling, gamma=gamma, **sizes).to(dtype).eval()
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
