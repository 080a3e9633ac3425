"""Train runs from a config, load them from their folder, and attack them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench import jsonio
from ssmbench.config import AnalysisConfig
from ssmbench.errors import SsmbenchError, require
from ssmbench.library.configs import Config, Overrides, read_run
from ssmbench.options import declared
from ssmbench.paths import absolute, shown
from ssmbench.results import Gains, Result, Scores
from ssmbench.runs import run as runs
from ssmbench.training.environment import is_main_process

if TYPE_CHECKING:
    from ssmbench.nn.model import SequenceModel
    from ssmbench.runs.load import AttackReport, TrainedRun
    from ssmbench.tasks.base import Task

#: The default folder of runs.
DEFAULT_ROOT = "outputs/runs"


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run and its folder, as returned by :func:`train` and :func:`load`.

    Attributes are read from the folder on access: ``result`` from ``result.json``, ``model`` from
    the checkpoint with the best validation score, or else from the last checkpoint.
    """

    identity: runs.Run

    @property
    def folder(self) -> Path:
        """The folder of config, status, metrics, checkpoints, TensorBoard events and result."""
        return self.identity.folder.path

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config: every option of every component."""
        return self.identity.config

    @property
    def state(self) -> str:
        """missing, queued, running, interrupted, out_of_time, failed, finished, diverged, damaged
        or unreadable (:data:`ssmbench.runs.states.STATES` says what each means)."""
        return self.identity.folder.checked_state

    @property
    def reason(self) -> str:
        """Why the run is in its state; empty if the state explains itself."""
        return self.identity.folder.checked_reason

    @property
    def is_complete(self) -> bool:
        """Whether there is a result: the run is finished, or it diverged."""
        return self.identity.folder.is_complete

    @property
    def result(self) -> Result:
        """Scores, gains, robustness, speed and environment.

        Raises:
            IncompleteRunError: the run is not complete; the message gives its state and the reason.
        """
        if not self.is_complete:
            raise IncompleteRunError(self)
        return read_result(self.folder)

    @property
    def scores(self) -> Scores | None:
        """The task's metric on the validation and the test split; None if the run diverged.

        Raises:
            IncompleteRunError: the run is not complete.
        """
        return self.result.scores

    @property
    def gains(self) -> Gains:
        """Declared, verified and attacked gains of each layer and of the network.

        Raises:
            IncompleteRunError: the run is not complete.
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
            UsageError: there is no checkpoint, or it does not fit the config.
        """
        return self._trained.model

    @property
    def task(self) -> Task:
        """The run's data module, which reads its data on first use."""
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
    """The result of a complete run, read from its folder.

    Raises:
        UsageError: there is no result, it is damaged, or its schema is not supported.
    """
    file = folder / "result.json"
    exists = file.exists()
    require(exists, f"{folder}: not the folder of a complete run (it has no result.json)")
    return Result.from_dict(jsonio.read(file), str(file))


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


class IncompleteRunError(SsmbenchError):
    """A run has no result: it failed, was stopped, or is held by another process."""

    def __init__(self, run: Run):
        self.run = run
        holder = run.identity.folder.holder
        if holder is not None:
            super().__init__(f"{run.folder}: {holder} is executing it")
            return
        reason = f": {run.reason}" if run.reason else ""
        log = run.folder / "error.txt"
        more = f" (see {log})" if run.state == "failed" and log.exists() else ""
        super().__init__(f"{run.folder}: the run is {run.state}{reason}{more}")


def prepare(
    config: Config, overrides: Overrides = None, *, output: str | Path | None = None
) -> Run:
    """Resolve and check a config without writing anything.

    Raises:
        UsageError: the run could not be executed.
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

    A run is identified by the fingerprint of its config; a complete run is not executed again.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> run.state, run.gains.verified >= run.gains.attacked
    ('finished', True)

    Args:
        config: the path of a YAML file, a bundled config's name, "SUITE:TASK/VARIANT" for a run of
            a suite, or a mapping.
        overrides: values by dotted keys or as a nested mapping, or a list of "key=value".
        output: the parent of the run's folder; None for ``outputs/runs``.
        force: execute the run even if it is complete; its previous output is deleted.
        progress: show progress on standard error.

    Raises:
        UsageError: the config, its overrides or its data are invalid.
        IncompleteRunError: the run did not complete; its attribute ``run`` is the run.
    """
    return execute(prepare(config, overrides, output=output), force=force, progress=progress)


def execute(run: Run, *, force: bool = False, progress: bool = True) -> Run:
    """Execute a run that :func:`prepare` returned; see :func:`train`."""
    from ssmbench.runs import execute as execution

    main = is_main_process()
    if force and main:
        free = run.identity.reset()
        who = run.identity.folder.holder or "another process"
        require(free, f"{run.folder}: {who} is executing it; it cannot be run again now")
    if run.is_complete and main and progress:
        notice = "already complete, nothing to do (force runs it again)"
        print(f"{run.identity.label}: {notice}", file=sys.stderr, flush=True)
    if main:
        _warn_of_edited_plugins(run.identity)
    execution.execute(run.identity, run.identity.label if progress else None)
    if main and not run.is_complete:
        raise IncompleteRunError(run)
    return run


def _warn_of_edited_plugins(run: runs.Run) -> None:
    """Warn if a run that starts has an earlier result, with different plugin code."""
    missing = run.folder.state == "missing"
    others = [str(path) for path in run.runs_of_other_code] if missing else []
    if others:
        warnings.warn(
            f"{', '.join(others)}: same config, but different plugin code; training a new run in "
            f"{run.folder.path}",
            stacklevel=4,
        )


def load(folder: str | Path) -> Run:
    """The run in a folder, trained or not.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> folder = sb.train("digits_s4d", over, progress=False).folder
    >>> sb.load(folder).model.parameter_count()
    2538

    Raises:
        UsageError: the folder is not that of a run, or its config is not supported.
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

    The worst input found is written to ``worst_input.npz`` in the run's folder.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> found = sb.attack(run, steps=2, restarts=2)
    >>> found.gain.attacked <= found.gain.verified
    True

    Args:
        run: a run or its folder.
        steps: ascent steps from each start; None for the run's setting.
        restarts: number of starts; None for the run's setting.
        seed: seed of the starts; None for the run's setting.
        rate: factor on the step sizes; 0.5 for inputs that are sampled twice as fast.

    Returns:
        ``gain`` as in a run's result, ``worst_input`` and ``checkpoint`` (files), and the budget.

    Raises:
        UsageError: the run is not trained, the budget or the rate is not allowed, or the task's
            data are missing.
    """
    budget = {"steps": steps, "restarts": restarts, "seed": seed}
    _check_budget(budget)
    folder = run.folder if isinstance(run, Run) else absolute(run)
    require(not folder.is_file(), f"{folder} is a file, not a run's folder")
    from ssmbench.runs.load import attack_run

    return attack_run(folder, rate, **{f"attack_{name}": v for name, v in budget.items()})


def _check_budget(budget: Mapping[str, int | None]) -> None:
    """Check the budget against the limits of the same options in a run's config."""
    given = {name: value for name, value in budget.items() if value is not None}
    for name, value in given.items():
        require(type(value) is int, f"{name}: must be a whole number, got {value!r}")
        for limit in declared(AnalysisConfig)[f"attack_{name}"]:
            require(limit.test(value), f"{name}: {limit.problem(value)}")
