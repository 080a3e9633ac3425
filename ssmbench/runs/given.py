"""The folder of a run of weights that are given, not trained: config, checkpoint, gains, scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ssmbench.config import RunConfig, fingerprint
from ssmbench.errors import require
from ssmbench.nn.model import SequenceModel
from ssmbench.results import ImportedFrom, Result, Scores, TaskFacts
from ssmbench.runs.consumption import EnergyMeter
from ssmbench.runs.environment import environment
from ssmbench.runs.load import measure_task_gains, save_worst_input
from ssmbench.runs.poles import write_poles
from ssmbench.runs.run import Run
from ssmbench.runs.sittings import OpenSitting
from ssmbench.tasks.base import Task
from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.ending import write_figures, write_outcome
from ssmbench.training.certificates import Certificates, certificates_of
from ssmbench.training.checkpoints import BEST, FOLDER
from ssmbench.training.robustness import robustness
from ssmbench.training.start import PREFIX

#: The task of a network that comes without its data.
NO_DATA = "noise"


@dataclass(frozen=True)
class GivenNetwork:
    """A network with its weights, and the config and the task of its run."""

    config: dict[str, Any]
    typed: RunConfig
    task: Task
    model: SequenceModel


def fingerprint_of(config: Mapping[str, Any], about: ImportedFrom | None) -> str:
    """What identifies a run: its config and, of given weights, the file that they are from."""
    return fingerprint(config if about is None else {**config, "imported": about.sha256})


def check_free(folder: Path, *, force: bool) -> None:
    """Raise a UsageError if there is something in the folder, unless it may be replaced."""
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    require(force or not taken, f"{folder}: exists already; choose another folder, or --force")


def write_run(
    run: Run, network: GivenNetwork, about: ImportedFrom, notes: tuple[str, ...] = ()
) -> None:
    """Write the run's folder anew, and measure its gains; with the data of its task also its scores
    and its robustness.

    Raises:
        UsageError: the folder cannot be created, or another process uses it.
    """
    run.create()
    meter, folder = EnergyMeter(), run.folder.path
    with run.folder.lock(on_beat=[meter.sample]) as held:
        require(held is not None, f"{folder}: {run.folder.holder or 'another process'} uses it")
        if held is not None:
            _write(replace(run, folder=held), network, about, notes, meter)


def _write(
    run: Run, network: GivenNetwork, about: ImportedFrom, notes: tuple[str, ...], meter: EnergyMeter
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
    run: Run,
    network: GivenNetwork,
    about: ImportedFrom,
    notes: tuple[str, ...],
    sitting: OpenSitting,
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
    scores = scores_of(model, task) if labelled else None
    cpu, provenance = torch.device("cpu"), sitting.provenance("imported", 0)
    return Result(
        fingerprint=fingerprint_of(run.config, about),
        status="finished",
        diverged_at=None,
        warnings=notes,
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
def scores_of(model: SequenceModel, task: Task) -> Scores:
    """The scores on the validation split and on every test set."""

    def score(split: str) -> float:
        return task.score_of(
            lambda batch: model(model.as_input(batch.u), batch.lengths, batch.dt).float(), split
        )

    further: dict[str, float | None] = {name: score(name) for name in task.further_tests()}
    return Scores(score("val"), score("test"), further)
