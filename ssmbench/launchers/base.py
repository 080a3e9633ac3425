"""Base class of launchers, which execute runs and report the final state of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from signal import Signals
from typing import Any

from ssmbench.errors import InterruptedRunError
from ssmbench.runs.run import Run

#: A run that has ended, and its state (:attr:`ssmbench.runs.folder.RunFolder.state`).
Ended = tuple[Run, str]


class Launcher(ABC):
    """Base class of launchers; instances are built with the options of their ``Config``.

    The folders of the runs are authoritative: a launcher yields the states recorded there, and a
    launcher that is started again executes only the runs that are not complete.
    """

    #: Whether the runs go on when the suite's process has ended.
    outlives_suite = False

    def __init__(self, config: Any):
        self.config = config

    def why_unavailable(self) -> str:
        """Why no run can be launched here, in words; empty if nothing is known to be missing."""
        return ""

    @abstractmethod
    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """Execute all runs, and yield each with its state when it ends.

        ``jobs``: the number of runs in parallel; None lets the launcher decide. A run that fails,
        ends its process or is lost does not stop the others, and is yielded as well; one that
        another process is executing has the state ``running``, one that waits in the queue of a
        scheduler ``queued``.
        """

    def side_by_side(self, jobs: int | None = None) -> int:
        """About how many runs are executed at a time, with the same ``jobs``."""
        return jobs or 1

    def interrupt(self, signum: int) -> None:
        """A signal asks that the suite ends. Called in the main thread, also in the midst of
        :meth:`launch`, which then yields the runs under way as ``interrupted`` and starts none.

        For launchers that execute runs in this process, :meth:`launch` is left by an exception;
        one that has other processes sends them the signal instead.

        Raises:
            InterruptedRunError: always, here.
        """
        raise InterruptedRunError(Signals(signum).name, signum)
