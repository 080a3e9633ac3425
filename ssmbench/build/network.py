"""The network of a run, from its typed config: layers, blocks, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.config import RunConfig, build, options_of
from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, suggest
from ssmbench.nn.block import Block, Norm, Residual
from ssmbench.nn.contracts import check_built
from ssmbench.nn.layer import InitialState, SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.pooling import Pooling
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.tasks.base import TaskSizes

Built = TypeVar("Built")


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
        _built(registry.nonlinearities, model.nonlinearity, Nonlinearity, d_model=model.d_model),
        d_model=model.d_model,
        norm=norm,
        mix=model.mix,
        residual=_choice(Residual, model.residual, "model.residual"),
        dropout=model.dropout,
        bounded=model.gamma is not None,
        reverse_layer=build_layer(config) if model.bidirectional else None,
    )


def build_layer(config: RunConfig) -> SSMLayer:
    """One SSM layer of a run, its parameters drawn from torch's global generator."""
    model, kinds = config.model, registry
    options = options_of(kinds.parametrizations, model.parametrization)
    width = {"d_model": model.d_model}
    return SSMLayer(
        _built(kinds.parametrizations, model.parametrization, Parametrization, **width),
        model.discretizer and _built(kinds.discretizers, model.discretizer, Discretizer),
        _built(kinds.scans, model.scan, ScanBackend),
        model.normaliser and _built(kinds.normalisers, model.normaliser, Normaliser),
        _choice(InitialState, model.initial_state, "model.initial_state"),
        declared_states=getattr(options, "d_state", None),
    )


def _built(
    kind: registry.Registry, component: Mapping[str, Any], base: type[Built], **context: Any
) -> Built:
    """A component, checked as it comes from its author."""
    made = build(kind, component, **context)
    check_built(kind.get(component["name"]), made, base)
    return made


def _choice(enum: type, name: str, where: str) -> Any:
    names = [member.name for member in enum]
    if name not in names:
        raise UsageError(f"{where}: {name!r} is not a choice; {suggest(name, names)}")
    return enum[name]
