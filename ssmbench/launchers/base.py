"""Base class of launchers, which execute runs and report the final state of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from ssmbench.runs.run import Run

#: A run that has ended, and its state (:attr:`ssmbench.runs.folder.RunFolder.state`).
Ended = tuple[Run, str]


class Launcher(ABC):
    """Base class of launchers; instances are built with the options of their ``Config``.

    The folders of the runs are authoritative: a launcher yields the states recorded there, and a
    launcher that is started again executes only the runs that are not complete.
    """

    def __init__(self, config: Any):
        self.config = config

    @abstractmethod
    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """Execute all runs, and yield each with its state when it ends.

        ``jobs``: the number of runs in parallel; None lets the launcher decide. A run that fails,
        ends its process or is lost does not stop the others, and is yielded as well.
        """

    def side_by_side(self, jobs: int | None = None) -> int:
        """About how many runs are executed at a time, with the same ``jobs``."""
        return jobs or 1
