"""The network of a run, from its typed config: layers, blocks, and the whole."""

from __future__ import annotations

from typing import Any

from ssmbench import registry
from ssmbench.config import RunConfig, build
from ssmbench.errors import UsageError, suggest
from ssmbench.nn.block import Block, Norm, Residual
from ssmbench.nn.layer import InitialState, SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.tasks.base import TaskSizes


def build_network(config: RunConfig, sizes: TaskSizes) -> SequenceModel:
    """The network of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: options that do not fit together, a discretizer for a discrete system among
            them.
    """
    model = config.model
    pooling = None if sizes.per_step else _choice(Pooling, model.pooling, "model.pooling")
    norm = _choice(Norm, model.norm, "model.norm")
    blocks = [_build_block(config, norm) for _ in range(model.n_layers)]
    return SequenceModel(
        blocks,
        inputs=sizes.inputs,
        d_model=model.d_model,
        outputs=sizes.outputs,
        pooling=pooling,
        gamma=model.gamma,
    )


def _build_block(config: RunConfig, norm: Norm) -> Block:
    model = config.model
    return Block(
        build_layer(config),
        build(registry.nonlinearities, model.nonlinearity, d_model=model.d_model),
        d_model=model.d_model,
        norm=norm,
        mix=model.mix,
        residual=_choice(Residual, model.residual, "model.residual"),
        dropout=model.dropout,
        bounded=model.gamma is not None,
        reverse_layer=build_layer(config) if model.bidirectional else None,
    )


def build_layer(config: RunConfig) -> SSMLayer:
    model = config.model
    discretizer = model.discretizer and build(registry.discretizers, model.discretizer)
    return SSMLayer(
        build(registry.parametrizations, model.parametrization, d_model=model.d_model),
        discretizer,
        build(registry.scans, model.scan),
        model.normaliser and build(registry.normalisers, model.normaliser),
        _choice(InitialState, model.initial_state, "model.initial_state"),
    )


def _choice(enum: type, name: str, where: str) -> Any:
    names = [member.name for member in enum]
    if name not in names:
        raise UsageError(f"{where}: {name!r} is not a choice; {suggest(name, names)}")
    return enum[name]
