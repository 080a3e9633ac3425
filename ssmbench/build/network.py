"""Build the network of a run from its typed config: layers, blocks and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbench import registry
from ssmbench.build.component import build_component
from ssmbench.build.encoder_decoder import build_decoder, build_encoder
from ssmbench.config import RunConfig, options_of
from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import require
from ssmbench.nn.block import Block, NormPosition, Residual
from ssmbench.nn.framing import Framing
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.tied import tie
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.spec import TaskSizes
from ssmbench.systems import Readout


def build_network(config: RunConfig, sizes: TaskSizes) -> SequenceModel:
    """The network of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: options cannot be combined, for example a discretizer and a discrete-time
            parametrization.
    """
    model = config.model
    pooling = Pooling[model.pooling]
    framing = Framing(model.frame)
    sizes = framing.sizes(sizes)
    blocks = [_build_block(config) for _ in range(model.n_layers)] * model.repeats
    encoder = build_encoder(config, sizes)
    decoder = build_decoder(config, sizes, pooling)
    return SequenceModel(
        blocks,
        encoder=encoder,
        decoder=decoder,
        final_norm=model.final_norm and _build_norm(model.final_norm, model.d_model),
        framing=framing,
        gamma=model.gamma,
        d_model=model.d_model,
        sizes=sizes,
    )


def _build_norm(component: Mapping[str, Any], d_model: int) -> Norm:
    return build_component(registry.norms, component, Norm, d_model=d_model)


def _build_block(config: RunConfig) -> Block:
    model, layer = config.model, build_layer(config)
    nonlinearity = build_component(
        registry.nonlinearities, model.nonlinearity, Nonlinearity, d_model=model.d_model
    )
    norm = _build_norm(model.norm, model.d_model)
    reverse = _build_reverse(config, layer)
    return Block(
        layer,
        nonlinearity,
        d_model=model.d_model,
        norm=norm,
        norm_position=NormPosition[model.norm_position],
        mix=model.mix,
        residual=Residual[model.residual],
        dropout=model.dropout,
        dropout_tied=model.dropout_tied,
        ssm_dropout=model.ssm_dropout,
        bounded=model.gamma is not None,
        reverse_layer=reverse,
    )


def _build_reverse(config: RunConfig, layer: SSMLayer) -> SSMLayer | None:
    """The layer in reversed time beside ``layer``, if the network has one."""
    model = config.model
    if not model.bidirectional:
        for key, default in (("tied", False), ("reverse_readout", None)):
            unused = getattr(model, key) == default
            require(unused, f"model.{key}: needs model.bidirectional=true")
        return None
    reverse = build_layer(config, Readout[model.reverse_readout or model.readout])
    if model.tied:
        tie(reverse.parametrization, layer.parametrization)
    return reverse


def build_layer(config: RunConfig, readout: Readout | None = None) -> SSMLayer:
    """One SSM layer of a run, its parameters drawn from torch's global generator; ``readout``
    instead of that of the config."""
    model, kinds = config.model, registry
    options = options_of(kinds.parametrizations, model.parametrization)
    width = {"d_model": model.d_model}
    return SSMLayer(
        build_component(kinds.parametrizations, model.parametrization, Parametrization, **width),
        model.discretizer and build_component(kinds.discretizers, model.discretizer, Discretizer),
        build_component(kinds.scans, model.scan, ScanBackend),
        model.normaliser and build_component(kinds.normalisers, model.normaliser, Normaliser),
        InitialState[model.initial_state],
        declared_states=getattr(options, "d_state", None),
        readout=readout or Readout[model.readout],
    )
