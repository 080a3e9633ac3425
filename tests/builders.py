"""Layers, blocks and networks of parts that are chosen by name, as a config chooses them.

Nothing here sets a seed unless it is asked to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch

from ssmbench import registry
from ssmbench.build.encoder_decoder import build_decoder, build_encoder
from ssmbench.config import ModelConfig, RunConfig
from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.blocks.base import Block, BlockParts
from ssmbench.nn.blocks.residual import ResidualBlock
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.pooling import Pooling
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import NoOptions
from ssmbench.scans.base import ScanBackend
from ssmbench.spec import Channels, TaskSizes
from ssmbench.systems import Readout


def discretizer_for(parametrization: str, discretizer: str = "zoh") -> str | None:
    """This discretizer for a continuous parametrization, and none for a discrete one."""
    continuous = registry.parametrizations.get(parametrization).factory.is_continuous()
    return discretizer if continuous else None


def build_parametrization(name: str, d_model: int = 4, **options: Any) -> Parametrization:
    """With its default options, but for those of ``options`` that it has."""
    entry = registry.parametrizations.get(name)
    known = {f.name for f in dataclasses.fields(entry.config)}
    config = entry.config(**{k: v for k, v in options.items() if k in known})
    return entry.build(config, d_model=d_model)


def build_discretizer(name: str) -> Discretizer:
    return registry.discretizers.get(name).build()


def build_scan(name: str = "auto") -> ScanBackend:
    return registry.scans.get(name).build()


def build_nonlinearity(name: str, d_model: int = 4) -> Nonlinearity:
    return registry.nonlinearities.get(name).build(d_model=d_model)


def build_norm(name: str, d_model: int = 4, **options: Any) -> Norm:
    entry = registry.norms.get(name)
    return entry.build(entry.config(**options), d_model=d_model)


def build_layer(
    parametrization: str | Parametrization,
    discretizer: str | Discretizer | None = None,
    scan: str | ScanBackend = "auto",
    normaliser: str | Normaliser | None = None,
    *,
    d_model: int = 4,
    seed: int | None = None,
    initial_state: InitialState = InitialState.zero,
    readout: Readout = Readout.before,
) -> SSMLayer:
    """A layer of parts by name, with default options, or of the parts themselves.

    Args:
        d_model: the width of a parametrization that is given by name.
        seed: where the random numbers of the process start anew before the layer is built; they
            go on from where they are if None.
        initial_state: as the layer takes it.
        readout: as the layer takes it.

    Raises:
        UsageError: the parts do not fit together; nothing is chosen to make them fit, see
            :func:`discretizer_for`.
    """
    if seed is not None:
        torch.manual_seed(seed)
    if isinstance(parametrization, str):
        parametrization = build_parametrization(parametrization, d_model)
    if isinstance(discretizer, str):
        discretizer = build_discretizer(discretizer)
    if isinstance(scan, str):
        scan = build_scan(scan)
    if isinstance(normaliser, str):
        normaliser = registry.normalisers.get(normaliser).build()
    parts = (parametrization, discretizer, scan, normaliser)
    return SSMLayer(*parts, initial_state=initial_state, readout=readout)


def build_block(
    layer: SSMLayer, nonlinearity: str | Nonlinearity = "gelu", d_model: int = 4, **options: Any
) -> Block:
    """A ``residual`` block of parts, or of parts by name; ``options`` are those of its parts."""
    if isinstance(nonlinearity, str):
        nonlinearity = build_nonlinearity(nonlinearity, d_model)
    norm, reverse = options.pop("norm", None), options.pop("reverse_layer", None)
    if norm is not None:
        made = build_norm(norm, d_model) if isinstance(norm, str) else norm
        options["norm"] = lambda width: made
    if reverse is not None:
        options["reverse_layer"] = lambda width, forward: reverse
    parts = BlockParts(lambda width: layer, lambda width: nonlinearity, **options)
    return ResidualBlock(NoOptions(), d_model=d_model, parts=parts)


def build_model(
    blocks: Iterable[Block],
    *,
    inputs: int,
    outputs: int,
    d_model: int = 4,
    pooling: Pooling | None = None,
    gamma: float | None = None,
    final_norm: Norm | None = None,
) -> SequenceModel:
    """A network of channels, its ends as a run's config chooses them by default."""
    sizes = TaskSizes(Channels(inputs), outputs, length=1, per_step=pooling is None)
    config = RunConfig(model=ModelConfig(d_model=d_model, gamma=gamma))
    encoder = build_encoder(config, sizes)
    decoder = build_decoder(config, sizes, pooling or Pooling.mean)
    return SequenceModel(
        blocks, encoder=encoder, decoder=decoder, gamma=gamma, final_norm=final_norm
    )
