"""Runs: trained from a config, loaded from their folder, attacked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.config import AnalysisConfig
from ssmbench.errors import SsmbenchError, require
from ssmbench.library.configs import Config, Overrides, read_run
from ssmbench.options import declared
from ssmbench.paths import absolute
from ssmbench.results import Gains, Result, Scores
from ssmbench.runs import run as runs
from ssmbench.runs.folder import read_json
from ssmbench.training.environment import is_main_process

if TYPE_CHECKING:
    from ssmbench.nn.model import SequenceModel
    from ssmbench.runs.load import AttackReport, TrainedRun
    from ssmbench.tasks.base import Task

#: Where runs are written unless another place is named.
DEFAULT_ROOT = "outputs/runs"


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run in its folder: :func:`train` and :func:`load` give it.

    What is asked for is read then: ``result`` from ``result.json``, ``model`` from the checkpoint
    with the best validation score, else the last one.
    """

    identity: runs.Run

    @property
    def folder(self) -> Path:
        """Config, status, metrics, checkpoints, TensorBoard events and result are in here."""
        return self.identity.folder.path

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config: every option of every component."""
        return self.identity.config

    @property
    def state(self) -> str:
        """missing, running, interrupted, out_of_time, failed, finished, diverged or damaged."""
        return self.identity.folder.state

    @property
    def reason(self) -> str:
        """Why the run is in its state, where there is more to say."""
        return self.identity.folder.reason

    @property
    def is_complete(self) -> bool:
        """Whether there is a result: the run is finished, or it diverged."""
        return self.identity.folder.is_done

    @property
    def result(self) -> Result:
        """Scores, gains, robustness, speed and environment.

        Raises:
            SsmbenchError: the run is not complete; says its state and the reason.
        """
        if not self.is_complete:
            raise IncompleteRunError(self)
        return read_result(self.folder)

    @property
    def scores(self) -> Scores | None:
        """The task's metric on the validation and the test split; None of a run that diverged.

        Raises:
            SsmbenchError: the run is not complete.
        """
        return self.result.scores

    @property
    def gains(self) -> Gains:
        """Declared, verified and attacked gains, of each layer and of the network.

        Raises:
            SsmbenchError: the run is not complete.
        """
        return self.result.gain

    @cached_property
    def _trained(self) -> TrainedRun:
        from ssmbench.runs.load import load_trained

        return load_trained(self.folder)

    @property
    def model(self) -> SequenceModel:
        """The trained network, on the CPU and in evaluation mode; built once.

        Raises:
            UsageError: no checkpoint, or one that does not fit.
        """
        return self._trained.model

    @property
    def task(self) -> Task:
        """The run's data module; it reads its data when it is asked for them."""
        return self._trained.task

    def __repr__(self) -> str:
        lines = [f"Run {self.identity.label or self.folder.name}: {self.state}"]
        lines += [f"  {name:<16} {value}" for name, value in self._rows()]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, object]]:
        rows: list[tuple[str, object]] = [("folder", shown(self.folder))]
        if not self.is_complete:
            return [*rows, ("reason", self.reason)] if self.reason else rows
        result = self.result
        for split in ("val", "test") if result.scores else ():
            score = f"{getattr(result.scores, split):.6g} {result.task.unit}"
            rows.append((f"{split} {result.task.metric}", score.rstrip()))
        names = ("declared", "verified", "attacked")
        rows += [(f"gain {name}", _figure(getattr(result.gain, name))) for name in names]
        rows.append(("network bound", _figure(result.gain.network.bound)))
        return rows + [("violated bound", sentence) for sentence in result.gain.violations]


def read_result(folder: Path) -> Result:
    """The result of a complete run, from its folder alone.

    Raises:
        UsageError: there is none, it is damaged, or another version of ssmbench wrote it.
    """
    file = folder / "result.json"
    exists = file.exists()
    require(exists, f"{folder}: not the folder of a complete run (it has no result.json)")
    return Result.from_dict(read_json(file), str(file))


def shown(path: Path) -> Path:
    """The path from the working folder, where it is in there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


class IncompleteRunError(SsmbenchError):
    """A run that has no result: it failed, was stopped, or another process has it."""

    def __init__(self, run: Run):
        self.run = run
        reason = f": {run.reason}" if run.reason else ""
        log = run.folder / "error.txt"
        more = f" (see {log})" if run.state == "failed" and log.exists() else ""
        super().__init__(f"{run.folder}: the run is {run.state}{reason}{more}")


def prepare(
    config: Config, overrides: Overrides = None, *, output: str | Path | None = None
) -> Run:
    """The run of a config, checked; nothing is written.

    Raises:
        UsageError: anything that would stop the run.
    """
    from ssmbench.training.check import check

    given = read_run(config, overrides)
    root = absolute(DEFAULT_ROOT if output is None else output, "output")
    identity = runs.Run.of(given.config, root, given.label)
    check(identity.typed)
    return Run(identity)


def train(
    config: Config,
    overrides: Overrides = None,
    *,
    output: str | Path | None = None,
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Train one model, measure its gains, and write its folder.

    A run that is complete already is not run again: its name is the fingerprint of its config.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> run.state, run.gains.verified >= run.gains.attacked
    ('finished', True)

    Args:
        config: the path of a YAML file, a bundled config's name, or a mapping.
        overrides: values by dotted keys or as a nested mapping, or a list of "key=value".
        output: the folder in which the run's folder is made; ``outputs/runs`` where None.
        force: run it again even if it is complete; what it left is deleted.
        progress: say how it goes, on standard error.

    Raises:
        UsageError: anything wrong in the config, its overrides or its data.
        SsmbenchError: the run did not complete; ``run`` of the error is the run.
    """
    return execute(prepare(config, overrides, output=output), force=force, progress=progress)


def execute(run: Run, *, force: bool = False, progress: bool = True) -> Run:
    """Run what :func:`prepare` gave; see :func:`train`."""
    from ssmbench.runs import execute as execution

    main = is_main_process()
    if force and main:
        free = run.identity.reset()
        require(free, f"{run.folder}: another process has this run; it cannot be run again now")
    if run.is_complete and main and progress:
        notice = "already complete, nothing to do (force runs it again)"
        print(f"{run.identity.label}: {notice}", file=sys.stderr, flush=True)
    execution.execute(run.identity, run.identity.label if progress else None)
    if main and not run.is_complete:
        raise IncompleteRunError(run)
    return run


def load(folder: str | Path) -> Run:
    """The run in a folder, trained or not.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> folder = sb.train("digits_s4d", over, progress=False).folder
    >>> sb.load(folder).model.parameter_count()
    2538

    Raises:
        UsageError: not the folder of a run, or a config that this version does not take.
    """
    return Run(runs.Run.load(absolute(folder)))


def attack(
    run: Run | str | Path,
    *,
    steps: int | None = None,
    restarts: int | None = None,
    seed: int | None = None,
    rate: float = 1.0,
) -> AttackReport:
    """Search for the input that a run's trained network amplifies most.

    The worst input that is found is written into the run's folder as ``worst_input.npz``.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> found = sb.attack(run, steps=2, restarts=2)
    >>> found.gain.attacked <= found.gain.verified
    True

    Args:
        run: a run or its folder.
        steps: ascent steps from each start; the run's own where None, as for those below.
        restarts: starts of the search.
        seed: of the starts.
        rate: multiplies step sizes; 0.5 for signals that are sampled twice as fast.

    Returns:
        ``gain`` as in a run's result, ``worst_input`` and ``checkpoint`` (files), and the budget.

    Raises:
        UsageError: not a trained run, a budget or a rate that is not allowed, or no data.
    """
    budget = {"steps": steps, "restarts": restarts, "seed": seed}
    _check_budget(budget)
    folder = run.folder if isinstance(run, Run) else absolute(run)
    require(not folder.is_file(), f"{folder} is a file, not a run's folder")
    from ssmbench.runs.load import attack_run

    return attack_run(folder, rate, **{f"attack_{name}": v for name, v in budget.items()})


def _check_budget(budget: Mapping[str, int | None]) -> None:
    """As the same options of a run's config."""
    given = {name: value for name, value in budget.items() if value is not None}
    for name, value in given.items():
        require(type(value) is int, f"{name}: must be a whole number, got {value!r}")
        for limit in declared(AnalysisConfig)[f"attack_{name}"]:
            require(limit.test(value), f"{name}: {limit.problem(value)}")
