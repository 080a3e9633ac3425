"""Build the network of a run from its typed config: layers, blocks and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.build.component import build_component
from ssmbench.build.encoder_decoder import build_decoder, build_encoder
from ssmbench.config import ModelConfig, RunConfig, options_of, resolve_model
from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.nn.blocks.base import Block, BlockParts, NormPosition, Residual
from ssmbench.nn.framing import Framing
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.relaxation import Relaxation
from ssmbench.nn.tied import tie
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.spec import TaskSizes
from ssmbench.systems import Readout

Part = TypeVar("Part")


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
    blocks = [build_block(_of_block(config, k)) for k in range(model.n_layers)] * model.repeats
    encoder = build_encoder(config, sizes)
    decoder = build_decoder(config, sizes, pooling)
    return SequenceModel(
        blocks,
        encoder=encoder,
        decoder=decoder,
        final_norm=model.final_norm and _build_norm(model.final_norm, model.d_model),
        framing=framing,
        gamma=model.gamma,
        relaxation=_relaxation(config),
        d_model=model.d_model,
        sizes=sizes,
    )


def _relaxation(config: RunConfig) -> Relaxation | None:
    if config.model.gamma_by == "product":
        return None
    require(
        config.analysis.network_bound > 0,
        "model.gamma_by: network_bound needs multiplications; set analysis.network_bound",
    )
    return Relaxation()


def _build_norm(component: Mapping[str, Any], d_model: int) -> Norm:
    return build_component(registry.norms, component, Norm, d_model=d_model)


def _of_block(config: RunConfig, index: int) -> RunConfig:
    """The config with the number of states of one block's layers, as ``layer_states`` says.

    Raises:
        UsageError: there is not one for each block, or the parametrization has no ``d_state``.
    """
    model = config.model
    if not model.layer_states:
        return config
    count, component = len(model.layer_states), model.parametrization
    require(
        count == model.n_layers,
        f"model.layer_states: must have one number for each of {model.n_layers} blocks, got "
        f"{count}",
    )
    require(
        "d_state" in component,
        f"model.layer_states: {component['name']} has no option d_state",
    )
    own = {**component, "d_state": model.layer_states[index]}
    return replace(config, model=replace(model, parametrization=own))


def build_block(config: RunConfig) -> Block:
    """A block of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: options of the model have no effect on this block, or cannot be combined.
    """
    model, kind = config.model, registry.blocks
    component = model.block or {"name": "residual"}
    _check_block(model, component)
    raised: dict[int, tuple[object, ...]] = {}
    context = {"d_model": model.d_model, "parts": block_parts(config, raised)}
    try:
        return build_component(kind, component, Block, **context)
    except UsageError as error:
        error.args = raised.get(id(error), error.args)  # said of a part, not of the block
        raise


def _check_block(model: ModelConfig, component: Mapping[str, Any]) -> None:
    """Raise a UsageError for options that such a block cannot have or would not use."""
    name, factory = component["name"], registry.blocks.get(component["name"]).factory
    reason = getattr(factory, "one_direction_reason", "")
    require(not (model.bidirectional and reason), f"model.bidirectional: {reason}")
    defaults = resolve_model({})
    ignored = getattr(factory, "ignored_with", lambda config: ())
    for option in ignored(options_of(registry.blocks, component)):
        require(
            getattr(model, option) == getattr(defaults, option),
            f"model.{option} has no effect on model.block={name}; leave it out",
        )
    if not model.bidirectional:
        for key, default in (("tied", False), ("reverse_readout", None)):
            unused = getattr(model, key) == default
            require(unused, f"model.{key}: needs model.bidirectional=true")


def block_parts(
    config: RunConfig, raised: dict[int, tuple[object, ...]] | None = None
) -> BlockParts:
    """What a run's config says about each of its blocks.

    ``raised`` takes note of the UsageErrors of the parts as they are raised, by their id.
    """
    model, noted = config.model, {} if raised is None else raised

    def part(build: Callable[..., Part]) -> Callable[..., Part]:
        def built(*args: Any) -> Part:
            try:
                return build(*args)
            except UsageError as error:
                noted[id(error)] = error.args
                raise

        return built

    def nonlinearity(width: int) -> Nonlinearity:
        kind = registry.nonlinearities
        return build_component(kind, model.nonlinearity, Nonlinearity, d_model=width)

    def reverse_layer(width: int, forward: SSMLayer) -> SSMLayer:
        reverse = build_layer(config, width, Readout[model.reverse_readout or model.readout])
        if model.tied:
            tie(reverse.parametrization, forward.parametrization)
        return reverse

    return BlockParts(
        layer=part(lambda width, selection=None: build_layer(config, width, None, selection)),
        nonlinearity=part(nonlinearity),
        norm=part(lambda width: _build_norm(model.norm, width)),
        reverse_layer=part(reverse_layer) if model.bidirectional else None,
        norm_position=NormPosition[model.norm_position],
        mix=model.mix,
        residual=Residual[model.residual],
        dropout=model.dropout,
        dropout_tied=model.dropout_tied,
        ssm_dropout=model.ssm_dropout,
        bounded=model.gamma is not None,
        count=model.n_layers * model.repeats,
    )


def build_layer(
    config: RunConfig,
    width: int | None = None,
    readout: Readout | None = None,
    selection: int | None = None,
) -> SSMLayer:
    """One SSM layer of a run, its parameters drawn from torch's global generator, for ``width``
    channels, by default ``d_model``; ``readout`` instead of that of the config. ``selection``: the
    width of a signal by which the layer selects, if its parametrization takes one."""
    model, kinds = config.model, registry
    factory = kinds.parametrizations.get(model.parametrization["name"]).factory
    options = options_of(kinds.parametrizations, model.parametrization)
    channels = {"d_model": width or model.d_model}
    if selection is not None and getattr(factory, "takes_selection", False):
        channels["d_selection"] = selection
    return SSMLayer(
        build_component(kinds.parametrizations, model.parametrization, Parametrization, **channels),
        model.discretizer and build_component(kinds.discretizers, model.discretizer, Discretizer),
        build_component(kinds.scans, model.scan, ScanBackend),
        model.normaliser and build_component(kinds.normalisers, model.normaliser, Normaliser),
        InitialState[model.initial_state],
        declared_states=getattr(options, "d_state", None),
        readout=readout or Readout[model.readout],
    )
