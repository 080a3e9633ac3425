"""Parallel execution on this machine, each run in a process of its own."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from signal import SIGTERM

from ssmbench.errors import require
from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.process import RunProcess
from ssmbench.launchers.slots import Config, Slot, slots
from ssmbench.registry import launchers
from ssmbench.runs.run import Run

#: Warnings of a run that are shown; all of them are in its log.
_SHOWN = 3
#: Seconds after which a new deadline is noticed at the latest.
_POLL = 1.0
#: More runs than fit on any machine.
_MANY = 10**6


@launchers.register("local", config=Config)
class Local(Launcher):
    """A process for each run on this machine, by default one per core but at most eight."""

    def __init__(self, config: Config | None = None):
        super().__init__(config or Config())
        self._active: dict[RunProcess, Slot | None] = {}
        self._signal = 0

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """See :meth:`Launcher.launch`. Distributed runs come last, one at a time, because each
        occupies all devices.

        Raises:
            UsageError: not a single run fits on this machine, or one is for several machines.
        """
        for run in runs:
            require_one_node(run)
        alone = [run for run in runs if run.is_distributed]
        waiting = deque([run for run in runs if not run.is_distributed])
        gpus = None if any(map(_may_use_gpu, waiting)) else []
        free = slots(self.config, len(waiting), jobs, gpus) if waiting else []
        try:
            yield from self._launch(waiting, free)
            for run in alone:
                yield from self._launch(deque([run]), [Slot(1)])
        finally:
            self._end()

    def interrupt(self, signum: int) -> None:
        """Pass a signal on to the runs under way, and start no others."""
        self._signal = signum
        for process in list(self._active):
            process.interrupt(signum)

    def _launch(self, waiting: deque[Run], free: list[Slot]) -> Iterator[Ended]:
        while self._active or (waiting and not self._signal):
            while waiting and free and not self._signal:
                self._start(waiting.popleft(), free.pop(0))
            for process in self._ended():
                slot = self._active.pop(process)
                free += [slot] if slot else []
                state = process.outcome()
                _show_warnings(process)
                yield process.run, state

    def _start(self, run: Run, slot: Slot) -> None:
        process = RunProcess(run, slot, self.config.grace)
        self._active[process] = slot
        if self._signal:  # it arrived while the process started
            process.interrupt(self._signal)

    def _ended(self) -> list[RunProcess]:
        """Wait for something to happen; returns the processes that have ended."""
        events = [event for process in self._active for event in process.events]
        left = [process.seconds_left for process in self._active]
        wait(events, min([_POLL, *(seconds for seconds in left if seconds is not None)]))
        return [process for process in self._active if process.has_ended()]

    def _end(self) -> None:
        """End the runs under way: the one who asked for them is gone."""
        if self._active:
            self.interrupt(SIGTERM)
        while self._active:
            for process in self._ended():
                self._active.pop(process)
                process.outcome()

    def side_by_side(self, jobs: int | None = None) -> int:
        """See :meth:`Launcher.side_by_side`."""
        return len(slots(self.config, _MANY, jobs))


def execute_in_subprocess(run: Run) -> str:
    """Execute a run in a process of its own, as ``local`` does; returns its state."""
    return next((state for _, state in Local().launch([run])), "interrupted")


def require_one_node(run: Run) -> None:
    """Raise a UsageError if a run is for several machines, whose processes nobody would start."""
    nodes = run.config["trainer"].get("num_nodes", 1)
    require(
        nodes == 1,
        f"{run.label}: trainer.num_nodes={nodes}: this launcher starts processes on one machine "
        "only; take launcher slurm",
    )


def _may_use_gpu(run: Run) -> bool:
    return run.config["trainer"].get("accelerator", "auto") != "cpu"


def _show_warnings(process: RunProcess) -> None:
    lines = process.warnings()
    for line in lines[:_SHOWN]:
        print(f"{process.run.label}: {line}", file=sys.stderr, flush=True)
    if len(lines) > _SHOWN:
        more = len(lines) - _SHOWN
        print(f"{process.run.label}: {more} more warnings in its output.log", file=sys.stderr)
