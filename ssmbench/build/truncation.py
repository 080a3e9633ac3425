"""Whether the layers of a run can be truncated in training, and how much of them is kept."""

from __future__ import annotations

from ssmbench import registry
from ssmbench.build.component import build_component
from ssmbench.config import RunConfig, TruncationConfig, ranks
from ssmbench.errors import UsageError, require
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.reduced_layers import reducible_system
from ssmbench.reduction import Amount, Reducer

#: What a run asks for of which truncation leaves nothing.
LOST = "the layers hold free matrices after a truncation, which keep no gain"


def amount_of(config: TruncationConfig) -> Amount:
    """What is kept of each layer.

    Raises:
        UsageError: none or several of share, order and tolerance are given.
    """
    try:
        return Amount(
            tolerance=config.tolerance,
            order=config.order,
            share=config.share,
            relative=config.relative,
            measured=config.measured,
        )
    except UsageError as error:
        raise UsageError(f"truncation: {error}") from None


def reducer_of(config: TruncationConfig) -> Reducer:
    """The reducer that the config names."""
    component = config.reducer or {"name": "balanced_truncation"}
    return build_component(registry.reducers, component, Reducer)


def check_truncation(run: RunConfig, network: SequenceModel) -> None:
    """Raise a UsageError unless the layers of a run can be truncated as it asks, if it does."""
    config = run.truncation
    if not config.epochs:
        unused = config == TruncationConfig()
        require(unused, "truncation: has no effect without truncation.epochs")
        return
    amount_of(config)
    reducer_of(config)
    _check_promises(run, network)
    one = ranks(run.trainer) in (1, None) and run.sequence_parallel == 1
    require(one, "truncation: a run that truncates has one process; set trainer.devices=1")
    require(
        not run.compile,
        "truncation: training steps of changing layers are not compiled; set compile=false",
    )
    require(
        run.sampling.dropped == 0,
        "truncation: samples are dropped (sampling.dropped), and stored matrices are those of one "
        "time step",
    )
    for index, layer in enumerate(network.layers):
        reducible_system(f"truncation: layer {index}", layer)


def _check_promises(run: RunConfig, network: SequenceModel) -> None:
    model = run.model
    require(model.gamma is None, f"truncation: model.gamma prescribes a gain, but {LOST}")
    require(model.normaliser is None, f"truncation: model.normaliser prescribes a gain, but {LOST}")
    for index, layer in enumerate(network.layers):
        kind = type(layer.parametrization).__name__
        require(
            layer.declared_gain() is None,
            f"truncation: layer {index} ({kind}) declares a gain, but {LOST}; ssmbench reduce "
            "makes a smaller network with a verified gain after the training",
        )
