"""The trials of one cell, in Optuna's journal: what is proposed next, and what came of it.

The journal is a file to which one line is appended for each trial that is proposed and for each
that is told, without a server. Several processes may use it at once, also over a network file
system, and one that was killed leaves it usable.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssmbench.errors import UsageError, require
from ssmbench.suite.search.settings import Search

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
#: Trials that TPE samples at random before it starts to learn.
STARTUP = 10
#: Seconds after which a lock of a process that was killed is removed.
_GRACE = 120
_PARALLEL = "parallel"


def require_optuna(where: str) -> None:
    """Raise a UsageError unless Optuna is installed."""
    found = importlib.util.find_spec("optuna") is not None
    require(found, f"{where}: needs the package optuna: pip install 'ssmbench[search]'")


@dataclass(frozen=True)
class Proposal:
    """Settings to try, by dotted key, under their number in the study."""

    number: int
    settings: Mapping[str, Any]


class Journal:
    """Optuna's journal in a folder; every change is made by one process at a time."""

    def __init__(self, folder: Path):
        from optuna.storages.journal import JournalFileSymlinkLock

        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / JOURNAL
        self._lock = JournalFileSymlinkLock(str(folder / "proposals"), grace_period=_GRACE)
        with quiet(), self.locked():
            self.storage = self._open()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time is within."""
        self._lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # another process took it for that of a dead one
                self._lock.release()

    def _open(self) -> JournalStorage:
        """The storage; a last line that a dying process left unfinished is removed first.

        Raises:
            UsageError: another line of the journal is damaged.
        """
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

        lock = JournalFileSymlinkLock(str(self._file), grace_period=_GRACE)
        lock.acquire()
        try:
            _remove_unfinished_line(self._file)
        finally:
            lock.release()
        try:
            return JournalStorage(JournalFileBackend(str(self._file), lock))
        except OSError:
            raise
        except Exception as error:  # of many types, depending on where the damage is
            raise UsageError(
                f"{self._file}: is damaged ({type(error).__name__}); delete it: the search then "
                "proposes the same trials again, and finds the results that they have"
            ) from None


def _remove_unfinished_line(file: Path) -> None:
    if not file.exists():
        return
    content = file.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete < len(content):
        with file.open("r+b") as opened:
            opened.truncate(complete)


class Study:
    """The trials of one cell.

    ``name``: of the study in the journal; ``parallel``: how many trials are proposed at a time once
    there are results to learn from, unless the study has recorded another number when it was begun.
    """

    def __init__(self, journal: Journal, name: str, search: Search, maximize: bool, parallel: int):
        import optuna

        self._journal, self._search = journal, search
        self._direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
        self._distributions = {key: one.distribution() for key, one in search.space.items()}
        with quiet(), journal.locked():
            self._study = optuna.create_study(
                study_name=name,
                storage=journal.storage,
                direction=self._direction,
                load_if_exists=True,
            )
            self._parallel = self._recorded(parallel)

    @property
    def proposals(self) -> list[Proposal]:
        """All that was proposed so far."""
        with quiet():
            return [self._proposal(trial) for trial in self._trials()[: self._search.trials]]

    def next_round(self) -> list[Proposal]:
        """The trials that were not told yet, and new ones until the round is full; none if all are
        told. It depends on the seed and on what was told, not on when it is asked or by whom."""
        with quiet(), self._journal.locked():
            trials = self._trials()
            open_ = [trial.number for trial in trials if not trial.state.is_finished()]
            end = self._end_of_round(open_[0] if open_ else len(trials))
            for number in range(len(trials), end):
                self._add(self._sampled(number, trials))
                trials = self._trials()
            waiting = trials[: self._search.trials]
            return [self._proposal(one) for one in waiting if not one.state.is_finished()]

    def tell(self, values: Mapping[int, float | None]) -> None:
        """Record the values of a round by the trials' numbers; None: it failed, which teaches the
        sampler nothing. What another process has told stays."""
        from optuna.trial import TrialState

        with quiet(), self._journal.locked():
            trials = self._trials()
            for number, value in sorted(values.items()):
                if trials[number].state.is_finished():
                    continue
                state = TrialState.FAIL if value is None else TrialState.COMPLETE
                self._study.tell(number, value, state=state)

    def _recorded(self, parallel: int) -> int:
        recorded = self._study.user_attrs.get(_PARALLEL)
        if not isinstance(recorded, int):
            self._study.set_user_attr(_PARALLEL, recorded := parallel)
        return recorded

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _end_of_round(self, number: int) -> int:
        """One after the last trial of the round that the trial ``number`` belongs to.

        What does not depend on earlier trials is one round.
        """
        total = self._search.trials
        if self._search.sampler != "tpe":
            return total
        if number < STARTUP:
            return min(STARTUP, total)
        whole_rounds = (number - STARTUP) // self._parallel
        return min(STARTUP + (whole_rounds + 1) * self._parallel, total)

    def _sampled(self, number: int, trials: list[FrozenTrial]) -> dict[str, Any]:
        """What the journal is to hold of the trial ``number``; sampled from a copy of the study, so
        that a killed process leaves a whole trial or none."""
        import optuna

        space = self._search.space
        if self._search.sampler == "grid":
            settings = self._combinations[number]
            return {key: space[key].stored(value) for key, value in settings.items()}
        copy = optuna.create_study(direction=self._direction, sampler=self._sampler(number))
        copy.add_trials(trials)
        params = copy.ask(self._distributions).params
        return {key: space[key].stored(space[key].value(params[key])) for key in space}

    @cached_property
    def _combinations(self) -> list[dict[str, Any]]:
        return list(self._search.grid())

    def _sampler(self, number: int) -> BaseSampler:
        """With a seed of its own for each trial: a search that goes on samples as one that was not
        interrupted."""
        from optuna.samplers import RandomSampler, TPESampler

        digest = hashlib.sha256(f"{self._search.seed}/{number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        if self._search.sampler == "random":
            return RandomSampler(seed=seed)
        # constant_liar: the running trials of a round are kept apart from each other
        return TPESampler(
            n_startup_trials=STARTUP, seed=seed, multivariate=True, constant_liar=True
        )

    def _add(self, params: dict[str, Any]) -> None:
        from optuna.trial import TrialState, create_trial

        trial = create_trial(
            state=TrialState.RUNNING, params=params, distributions=self._distributions
        )
        self._study.add_trial(trial)

    def _proposal(self, trial: FrozenTrial) -> Proposal:
        space = self._search.space
        settings = {key: space[key].value(trial.params[key]) for key in space}
        return Proposal(trial.number, settings)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings of interfaces that are experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
