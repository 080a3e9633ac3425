"""Make a run of weights that were trained elsewhere: config, checkpoint, gains, scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, build, fingerprint, merge, resolve, resolve_component, typed
from ssmbench.errors import UsageError, require, suggest
from ssmbench.importers.base import Imported, convert
from ssmbench.importers.files import Checkpoint, read_checkpoint
from ssmbench.importers.weights import Weights
from ssmbench.nn.model import SequenceModel
from ssmbench.results import ImportedFrom, Result, Scores, TaskFacts
from ssmbench.runs.consumption import EnergyMeter
from ssmbench.runs.environment import environment
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.load import PREFIX, measure_task_gains, save_worst_input
from ssmbench.runs.poles import write_poles
from ssmbench.runs.run import Run
from ssmbench.runs.sittings import OpenSitting
from ssmbench.spec import Channels, SequenceSpec, Tokens
from ssmbench.tasks.base import Task
from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.ending import write_figures, write_outcome
from ssmbench.training.certificates import Certificates, certificates_of
from ssmbench.training.checkpoints import BEST, FOLDER
from ssmbench.training.robustness import robustness

#: The task of a network that comes without its data.
NO_DATA = "noise"


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


@dataclass(frozen=True)
class _Network:
    config: dict[str, Any]
    typed: RunConfig
    task: Task
    model: SequenceModel


def import_run(request: ImportRequest, folder: Path, *, force: bool = False) -> Run:
    """Write the run of a checkpoint to ``folder``, and measure its gains.

    With a task in ``overrides``, its scores and its robustness are measured as well.

    Raises:
        UsageError: the checkpoint cannot be read, or not as this layout; it does not fit the task
            or the overrides; or there is a run in the folder already and ``force`` is not set.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    require(force or not taken, f"{folder}: exists already; choose another folder, or --force")
    checkpoint = read_checkpoint(request.checkpoint)
    weights = Weights(checkpoint.arrays, str(request.checkpoint), partial=request.partial)
    found = _converted(request, weights)
    network = _network(request, found, checkpoint.single)
    run = Run(network.config, RunFolder(folder))
    about = _provenance(request, weights, checkpoint)
    run.create()
    meter = EnergyMeter()
    with run.folder.lock(on_beat=[meter.sample]) as held:
        require(held is not None, f"{folder}: {run.folder.holder or 'another process'} uses it")
        if held is not None:
            _write(replace(run, folder=held), network, about, found.notes, meter)
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


def _network(request: ImportRequest, found: Imported, single: bool) -> _Network:
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


def _built(request: ImportRequest, found: Imported, single: bool) -> _Network:
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
    return _Network(config, run, task, (model if single else model.double()).eval())


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


def _write(
    run: Run, network: _Network, about: ImportedFrom, notes: tuple[str, ...], meter: EnergyMeter
) -> None:
    run.folder.clear()
    run.folder.write_config(run.config)
    sitting = OpenSitting(run.folder, meter)
    run.folder.write_status("running")
    place = run.folder.path / FOLDER
    place.mkdir(exist_ok=True)
    state = {f"{PREFIX}{name}": value for name, value in network.model.state_dict().items()}
    torch.save({"state_dict": state}, place / BEST)
    result = _measured(run, network, about, notes, sitting)
    write_outcome(run.folder.path, result, run.config)
    run.folder.write_result(result)
    run.folder.write_status(result.status)
    sitting.end("imported", 0)


def _measured(
    run: Run, network: _Network, about: ImportedFrom, notes: tuple[str, ...], sitting: OpenSitting
) -> Result:
    config, task, model = network.typed, network.task, network.model
    found = measure_task_gains(model, task, config.analysis)
    save_worst_input(run.folder.path, found)
    write_poles(run.folder.path, [poles.cpu().numpy() for poles in found.poles])
    if config.analysis.figures:
        write_figures(run.folder.path, model, found.worst, 0, Drawings(1.0))
    labelled = config.task["name"] != NO_DATA
    curves = tuple(robustness(model, task, config.analysis)) if labelled else ()
    proved = certificates_of(model, task, config.analysis, found) if labelled else Certificates()
    scores = _scores(model, task) if labelled else None
    cpu, provenance = torch.device("cpu"), sitting.provenance("imported", 0)
    return Result(
        fingerprint=fingerprint({**run.config, "imported": about.sha256}),
        status="finished",
        diverged_at=None,
        warnings=(*notes, *_left_out(about)),
        variant=config.variant or about.layout,
        parametrization=config.model.parametrization["name"],
        discretizer=config.model.discretizer and config.model.discretizer["name"],
        seed=config.seed,
        task=_task_facts(config, task, labelled),
        scores=scores,
        gain=found.gain,
        robustness=(*curves, *proved.curve),
        certified=proved.figures,
        parameters=model.parameter_count(),
        steps_per_second=None,
        environment=environment(cpu, cpu),
        seconds=round(provenance.seconds, 2),
        imported=about,
        provenance=provenance,
    )


def _left_out(about: ImportedFrom) -> tuple[str, ...]:
    count = len(about.left_out)
    return (f"{count} keys of the checkpoint were left out",) if count else ()


def _task_facts(config: RunConfig, task: Task, labelled: bool) -> TaskFacts:
    return TaskFacts(
        name=config.task["name"],
        source=task.source,
        metric=task.score,
        higher_is_better=task.higher_is_better,
        unit=task.unit,
        data_digest=config.data_digest,
        baselines=task.baseline_scores() if labelled else None,
        classifies=task.classifies,
        test_sequences=len(task.split("test")) if labelled else None,
    )


@torch.no_grad()
def _scores(model: SequenceModel, task: Task) -> Scores:
    """The scores on the validation split and on every test set."""

    def score(split: str) -> float:
        return task.score_of(
            lambda batch: model(model.as_input(batch.u), batch.lengths, batch.dt).float(), split
        )

    further: dict[str, float | None] = {name: score(name) for name in task.further_tests()}
    return Scores(score("val"), score("test"), further)
