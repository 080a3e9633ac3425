"""What a launcher is: it executes runs, and says what became of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from ssmbench.runs.run import Run

#: A run that has ended, and its state (:attr:`ssmbench.runs.folder.RunFolder.state`).
Ended = tuple[Run, str]


class Launcher(ABC):
    """Built with the options of its ``Config``.

    The runs' folders are the truth: what a launcher yields is what a folder says, and a launcher
    that is started again executes only what is not complete.
    """

    def __init__(self, config: Any):
        self.config = config

    @abstractmethod
    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """Execute every run and yield each as it ends, in the order in which they end.

        ``jobs``: how many run side by side; None leaves it to the launcher. A run that fails, that
        ends its process or that is lost does not stop the others, and is yielded as well.
        """
