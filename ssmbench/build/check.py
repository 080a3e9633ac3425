"""Build the components of a run without training, to find invalid settings early."""

from __future__ import annotations

import traceback
import warnings

import torch

from ssmbench import registry
from ssmbench.analysis.certificate import GainClaim
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.build.truncation import check_truncation
from ssmbench.config import RunConfig, build
from ssmbench.errors import UsageError, one_line, require
from ssmbench.measures.base import Measure
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.origins import plugin_line, with_plugin_line
from ssmbench.spec import Pair
from ssmbench.tasks.base import Task


def check_parts(config: RunConfig) -> None:
    """Build the task, the network, the optimizer and the measures of a run, and discard them;
    torch's generator is left unchanged.

    Raises:
        UsageError: one of them cannot be built.
    """
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # the run will issue them again
            check_compile(config)
            task = build_task(config)
            network = build_network(config, task.sizes)
            if task.conditions.uneven:
                network.check_uneven()
            check_margins(config, task, network)
            check_measures(config, network)
            check_penalty(config, network)
            check_truncation(config, network)
            build_optimizer(network, config.optimizer)
    except UsageError as error:
        raise with_plugin_line(error) from error
    except Exception as error:  # a plugin's: a sentence for its user, the line for its author
        place = plugin_line(error) or _innermost(error)
        raise UsageError(f"the model cannot be built: {one_line(error)} ({place})") from error


def _innermost(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}"


def check_margins(config: RunConfig, task: Task, network: SequenceModel) -> None:
    """Raise a UsageError unless the network declares the margins that ``margin`` or ``select`` of
    the run refer to."""
    by = "margin" if config.margin > 0 else f"select: {config.select}"
    if config.margin == 0 and config.select == "score":
        return
    require(
        task.classifies and task.score == "accuracy",
        f"{by}: certified margins are of classes, but {config.task['name']} is scored by "
        f"{task.score}",
    )
    require(
        network.gains_from is GainsFrom.input,
        f"{by}: certified margins need inputs that have a norm, but gains of this network refer to "
        f"its {network.gains_from.value}",
    )
    require(
        network.gamma is not None,
        f"{by}: certified margins follow from a declared gain of the network; set model.gamma",
    )
    require(
        network.gain_claim is GainClaim.incremental,
        f"{by}: certified margins need an incremental gain, but this network declares a "
        f"{network.gain_claim.value} one",
    )


def check_measures(config: RunConfig, network: SequenceModel) -> None:
    """Raise a UsageError unless each measure that the run asks for is defined for one of its layers
    at least: the others, and those that vary in time, say in the result why they have none."""
    fixed = [layer for layer in network.layers if not layer.time_varying]
    for place, component in enumerate(config.analysis.measures or ()):
        measure = build(registry.measures, component)
        reasons = [_undefined(measure, layer) for layer in fixed]
        require(
            not reasons or "" in reasons,
            f"analysis.measures.{place}: {component['name']}: {next(iter(reasons), '')}",
        )


def check_compile(config: RunConfig) -> None:
    """Raise a UsageError if a network is to be compiled whose ranks exchange states inside it."""
    require(
        not (config.compile and config.sequence_parallel > 1),
        f"compile: not with sequence_parallel={config.sequence_parallel}: ranks that share "
        "sequences exchange states inside the network; leave one of them out",
    )


def check_penalty(config: RunConfig, network: SequenceModel) -> None:
    """Raise a UsageError if Hankel singular values are penalised that a layer does not have."""
    if config.hankel_penalty == 0:
        return
    for index, layer in enumerate(network.layers):
        kind = type(layer.parametrization).__name__
        require(
            not layer.time_varying,
            f"hankel_penalty: layer {index} ({kind}) is time-varying: it has no Hankel singular "
            "values",
        )


def _undefined(measure: Measure, layer: SSMLayer) -> str:
    """Why a layer has no such measure; "" if it has."""
    try:
        measure.check(layer.system())
    except UsageError as error:
        return str(error)
    return ""


def check_even(task: Task, consequence: str) -> None:
    """Load the data, and raise a UsageError if networks are given the time from each sample to the
    next: matrices in place of a continuous-time system have no step size that it could scale."""
    for name in ("train", "val", "test", *task.further_tests()):
        data = task.split(name)
        uneven = task.conditions.uneven or (len(data) > 0 and data.batch([0]).dt is not None)
        require(
            not uneven,
            f"the samples of {name} are at uneven times: {consequence}, since stored matrices are "
            "those of one time step",
        )


def check_splits_fit(network: SequenceModel, task: Task) -> None:
    """Load the data, and check that the network takes the lengths and the time steps of every
    split: a test set that it does not take would be found only after the training.

    Raises:
        UsageError: it does not, or the data cannot be used.
    """
    for name in ("train", "val", "test", *task.further_tests()):
        data = task.split(name)
        if len(data) == 0:
            continue
        one, lengths = data.batch([0]), data.lengths
        steps = one.u.shape[2 if isinstance(task.sizes.input, Pair) else 1]
        longest = steps if lengths is None else int(lengths.max())
        network.encoder.check_length(network.framing.count(longest))
        if one.dt is not None:
            network.check_uneven()


def check_data(config: RunConfig) -> None:
    """Load the data of a run.

    Raises:
        UsageError: the data cannot be used, or do not fill a batch.
    """
    build_task(config).train_dataloader()
