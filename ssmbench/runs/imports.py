"""Make a run of weights that were trained elsewhere: config, checkpoint, gains, scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import build, merge, resolve, resolve_component, typed
from ssmbench.errors import UsageError, require, suggest
from ssmbench.importers.base import Imported, convert
from ssmbench.importers.files import Checkpoint, read_checkpoint
from ssmbench.importers.weights import Weights
from ssmbench.nn.model import SequenceModel
from ssmbench.results import ImportedFrom
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.given import NO_DATA, GivenNetwork, check_free, write_run
from ssmbench.runs.run import Run
from ssmbench.spec import Channels, SequenceSpec, Tokens
from ssmbench.tasks.base import Task


@dataclass(frozen=True)
class ImportRequest:
    """What to import, and how.

    ``layout``: the name of an importer, with its ``options``. ``overrides``: keys of the run's
    config, such as ``task`` or ``model.readout``. ``partial``: leave out keys that the layout does
    not have, and do without an encoder or a decoder.
    """

    checkpoint: Path
    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


def import_run(request: ImportRequest, folder: Path, *, force: bool = False) -> Run:
    """Write the run of a checkpoint to ``folder``, and measure its gains.

    With a task in ``overrides``, its scores and its robustness are measured as well.

    Raises:
        UsageError: the checkpoint cannot be read, or not as this layout; it does not fit the task
            or the overrides; or there is a run in the folder already and ``force`` is not set.
    """
    check_free(folder, force=force)
    checkpoint = read_checkpoint(request.checkpoint)
    weights = Weights(checkpoint.arrays, str(request.checkpoint), partial=request.partial)
    found = _converted(request, weights)
    network = _network(request, found, checkpoint.single)
    run = Run(network.config, RunFolder(folder))
    about = _provenance(request, weights, checkpoint)
    write_run(run, network, about, (*found.notes, *_left_out(about)))
    return run


def _converted(request: ImportRequest, weights: Weights) -> Imported:
    component = {"name": request.layout, **request.options}
    resolved = resolve_component(registry.importers, component, "import")
    importer = build(registry.importers, resolved)
    try:
        return convert(importer, weights, resolved["name"])
    except UsageError as error:
        raise UsageError(f"{error}{_other_layout(weights, resolved['name'])}") from None


def _other_layout(weights: Weights, chosen: str) -> str:
    """The layout that the keys look like, if it is another one than was asked for."""
    marks = {entry.name: entry.factory.mark for entry in registry.importers}
    looks = [n for n, mark in marks.items() if any(re.fullmatch(mark, key) for key in weights.keys)]
    other = [name for name in looks if name != chosen]
    return f" (its keys are like those of layout {other[0]})" if looks == other and other else ""


# --- the network --------------------------------------------------------------------------------


def _network(request: ImportRequest, found: Imported, single: bool) -> GivenNetwork:
    """The network with its weights; of single precision where the file is."""
    network = _built(request, found, single)
    sizes = network.task.sizes
    if isinstance(sizes.input, Tokens) and found.input == Channels(sizes.input.vocabulary):
        found = found.reading_tokens()
        network = _built(request, found, single)
    _check_sizes(request, found, network.task)
    state = found.state
    if request.partial:
        own = network.model.state_dict()
        state = {name: array for name, array in state.items() if name in own}
    _load(network.model, state, str(request.checkpoint))
    return network


def _built(request: ImportRequest, found: Imported, single: bool) -> GivenNetwork:
    given: dict[str, Any] = {"model": dict(found.model), "task": _without_data(found)}
    if not single:
        given["trainer"] = {"precision": "64-true"}
    config = resolve(merge(given, request.overrides), "import")
    run = typed(config)
    task = build_task(run)
    if _misfit(found.input, task.sizes.sequence) and not isinstance(task.sizes.input, Tokens):
        _check_sizes(request, found, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        model = build_network(run, task.sizes)
    return GivenNetwork(config, run, task, (model if single else model.double()).eval())


def _without_data(found: Imported) -> dict[str, Any]:
    tokens = isinstance(found.input, Tokens)
    input = {"vocabulary": found.input.vocabulary} if isinstance(found.input, Tokens) else {}
    channels = {} if tokens else {"channels": _count(found.input)}
    sizes = {"outputs": found.outputs, "per_step": found.per_step}
    return {"name": NO_DATA, **input, **channels, **sizes}


def _count(kind: SequenceSpec) -> int:
    return kind.vocabulary if isinstance(kind, Tokens) else kind.count


def _misfit(mine: SequenceSpec, theirs: SequenceSpec) -> bool:
    return type(mine) is not type(theirs) or _count(mine) != _count(theirs)


def _check_sizes(request: ImportRequest, found: Imported, task: Task) -> None:
    sizes, name = task.sizes, type(task).__name__
    where = f"{request.checkpoint}: the network"
    frame = int(found.model.get("frame", 1))
    if _misfit(found.input, sizes.sequence) and frame == 1:
        raise UsageError(
            f"{where} reads {_count(found.input)} {found.input}, but the task {name} has "
            f"{_count(sizes.sequence)} {sizes.sequence}"
        )
    require(
        found.outputs == sizes.outputs,
        f"{where} predicts {found.outputs} numbers, but the task {name} needs {sizes.outputs}",
    )
    steps = {True: "each step", False: "a whole sequence"}
    require(
        found.per_step == sizes.per_step,
        f"{where} predicts from {steps[found.per_step]}, but the task {name} from "
        f"{steps[sizes.per_step]} (the layout's option pooling decides)",
    )


def _load(model: SequenceModel, state: Mapping[str, Tensor], source: str) -> None:
    """Fill the network; every one of its parameters is given, in its shape.

    Raises:
        UsageError: one is missing, unknown or of another shape, as an override of the config can
            make it.
    """
    own = model.state_dict()
    for name, array in state.items():
        require(name in own, f"{source}: the network has no {name!r}; {suggest(name, own)}")
        found, needed = tuple(array.shape), tuple(own[name].shape)
        require(
            found == needed,
            f"{source}: {name} has the shape {found}, but the network of this config needs "
            f"{needed}",
        )
    missing = [name for name in own if name not in state]
    near = f"; {suggest(missing[0], state)}" if missing else ""
    require(not missing, f"{source}: nothing gives the network's {', '.join(missing[:5])}{near}")
    model.load_state_dict(dict(state))
    bad = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    require(not bad, f"{source}: {', '.join(bad[:5])} is not finite in the network's precision")


# --- the folder ---------------------------------------------------------------------------------


def _provenance(request: ImportRequest, weights: Weights, checkpoint: Checkpoint) -> ImportedFrom:
    return ImportedFrom(
        file=request.checkpoint.name,
        sha256=checkpoint.digest,
        layout=request.layout,
        options={key: str(value) for key, value in request.options.items()},
        left_out=tuple(weights.left),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _left_out(about: ImportedFrom) -> tuple[str, ...]:
    count = len(about.left_out)
    return (f"{count} keys of the checkpoint were left out",) if count else ()
