"""The network of a published run, built from its config without data, with the weights in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, resolve, typed
from ssmbench.config.sources import sources_of
from ssmbench.errors import UsageError, last_line, require
from ssmbench.nn.model import SequenceModel
from ssmbench.publication.checks.submission import Submission
from ssmbench.publication.checks.verdict import NeedsPluginError
from ssmbench.publication.layout import CONFIG, RESULT, WEIGHTS, Sizes
from ssmbench.publication.sizes import from_record, to_record
from ssmbench.publication.weights import read_weights
from ssmbench.results import Result
from ssmbench.runs.load import untrained
from ssmbench.spec import TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.training.recorded_truncations import check_recorded
from ssmbench.training.truncation import as_truncated

#: Names of weights that a message lists.
_LISTED = 3


@dataclass(frozen=True)
class Rebuilt:
    """The network in evaluation mode, its task (None if that needs its data), and what of them had
    to be taken on trust."""

    config: RunConfig
    task: Task | None
    model: SequenceModel
    not_checked: tuple[str, ...]


def check_plugins(one: Submission) -> None:
    """Raise a NeedsPluginError unless every plugin of the run is here, with the same source."""
    recorded, here = one.config.get("sources") or {}, sources_of(one.config)
    require(isinstance(recorded, Mapping), f"{CONFIG}: sources: must be a mapping")
    known = {source.where: source for source in one.entry.plugins}
    for where in sorted({*recorded, *here}):
        if recorded.get(where) != here.get(where):
            raise NeedsPluginError(_needed(where, known.get(where)))


def _needed(where: str, source: Any) -> str:
    if source is None:
        return f"{where}: not listed with its plugin, so nobody but its author can verify it"
    if source.package:
        version = f" {source.version}" if source.version else ""
        return f"needs the package {source.package}{version} ({where})"
    return (
        f"needs the plugin {source.name!r} ({source.file}); read it, then put it into ./plugins, "
        "or use --run-plugins, which executes the submitted code"
    )


def rebuild(one: Submission, *, with_data: bool = False) -> Rebuilt:
    """Build the network of a run and load its weights.

    Raises:
        NeedsPluginError: a plugin of the run is not here.
        UsageError: the config is not allowed, or the weights are not those of its network.
    """
    check_plugins(one)
    config = _resolved(one)
    sizes, task, notes = _sizes(config, one.entry.sizes)
    model = _network(config, sizes, one.result)
    load_exactly(model, read_weights(one.folder / WEIGHTS))
    count, said = model.parameter_count(), one.result.parameters
    require(count == said, f"the network has {count:,} parameters, not {said:,}")
    return Rebuilt(config, task, model.eval(), notes)


def _network(config: RunConfig, sizes: TaskSizes, result: Result) -> SequenceModel:
    """The network before its weights are loaded, with the layers that truncations left."""
    done = result.truncations
    if not done:
        return untrained(config, sizes)
    check_recorded(config, untrained(config, sizes), done)
    last, said = done[-1].parameters, result.parameters
    require(last == said, f"{RESULT}: {last:,} parameters after the truncations, but {said:,} now")
    return untrained(as_truncated(config, done), sizes)


def _resolved(one: Submission) -> RunConfig:
    """The config, its values checked; those of the task when it is built, because some tasks look
    for their data when a config is resolved."""
    rest = {key: value for key, value in one.config.items() if key not in ("task", "data_digest")}
    stored = one.config["task"]
    task = {key: value for key, value in stored.items() if key != "data_dir"}
    kept = {"task": task, "data_digest": one.result.task.data_digest}
    return typed(resolve(rest, CONFIG) | kept)


def _sizes(config: RunConfig, said: Sizes) -> tuple[Any, Task | None, tuple[str, ...]]:
    try:
        task = build_task(config)
        sizes = task.sizes
    except UsageError as error:  # they are in the data's files
        note = f"the task's sizes, which are in its data ({last_line(error)})"
        return from_record(said), None, (note,)
    known = to_record(sizes)
    require(known == said, f"leaderboard.json: sizes are {said}, but the task's are {known}")
    if task.published is not None:  # its data are files, which need not be here
        return sizes, task, ("that the data are those of the digest",)
    digest = task.data_digest
    require(
        config.data_digest in ("", digest),
        f"{CONFIG}: data_digest is {config.data_digest}, but the task's is {digest}",
    )
    return sizes, task, ()


def load_exactly(model: SequenceModel, weights: Mapping[str, Tensor]) -> None:
    """Load weights of exactly these names, shapes and precisions.

    Raises:
        UsageError: they are others, or differ where the network has one parameter for two names.
    """
    wanted = model.state_dict()
    _check_same_names(wanted, weights)
    for name, value in weights.items():
        expected = (tuple(wanted[name].shape), wanted[name].dtype)
        found = (tuple(value.shape), value.dtype)
        require(found == expected, f"{WEIGHTS}: {name} is {_form(*found)}, not {_form(*expected)}")
    model.load_state_dict(dict(weights))
    for name, value in model.state_dict().items():
        same = bool(((value == weights[name]) | (value != value)).all())
        require(same, f"{WEIGHTS}: {name} is one parameter of the network under two names")


def _check_same_names(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    require(not missing, f"{WEIGHTS}: has no {', '.join(missing[:_LISTED])}")
    shown = ", ".join(f"{name:.60}" for name in extra[:_LISTED])
    require(not extra, f"{WEIGHTS}: the network has no {shown}")


def _form(shape: tuple[int, ...], dtype: Any) -> str:
    return f"{str(dtype).removeprefix('torch.')} of shape {shape}"
