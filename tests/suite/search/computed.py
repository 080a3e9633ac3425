"""A launcher that computes scores instead of training.

``python -m tests.suite.search.computed SUITE FOLDER`` searches with it, as one of two processes on
one folder, which wait for each other in the midst of their first runs.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbench.launchers.base import Ended, Launcher
from ssmbench.results import Scores
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.run import Run
from ssmbench.suite.search import study
from ssmbench.suite.search.plan import load_search
from ssmbench.suite.search.session import run_search
from tests.runs.results import complete

#: Trials before TPE learns, in these tests.
STARTUP = 3


class Stopped(BaseException):
    """The process of a search ends."""


class Computed(Launcher):
    """The score of a run is computed from its config, best at the learning rate ``best``; above
    0.3 it diverges, and where ``fails`` says so it fails.

    Writes the label of each run that it executes on a line of ``log``; stops before the run
    ``stop_at``. ``width``: how many runs it claims to execute side by side; ``meets``: whether it
    waits in its first run until another process is in its own.
    """

    def __init__(
        self,
        log: Path,
        stop_at: float = math.inf,
        fails: Callable[[Mapping[str, Any]], bool] = lambda config: False,
        width: int = 1,
        meets: bool = False,
        best: float = 0.01,
    ):
        super().__init__(None)
        self._log, self._stop_at, self._fails, self._width = log, stop_at, fails, width
        self._meets, self._best = meets, best

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        for run in runs:
            if len(self.executed) >= self._stop_at:
                raise Stopped
            with run.folder.lock() as held:
                if held is not None and not held.is_complete:
                    self._execute(run, held)
            yield run, "running" if held is None else run.folder.state

    def side_by_side(self, jobs: int | None = None) -> int:
        return self._width

    @property
    def executed(self) -> list[str]:
        """The labels of the runs that were executed by all launchers with this log."""
        return self._log.read_text().split() if self._log.exists() else []

    def _execute(self, run: Run, folder: RunFolder) -> None:
        with self._log.open("a") as log:
            log.write(f"{run.label}\n")
        while self._meets and len(self.executed) < 2:
            time.sleep(0.01)
        self._meets = False
        lr, epochs = run.config["optimizer"]["lr"], run.config["trainer"]["max_epochs"]
        if self._fails(run.config):
            folder.write_status("failed", reason="on purpose")
        elif lr > 0.3:
            complete(folder, "diverged")
        else:
            score = -abs(math.log10(lr / self._best)) - run.config["model"]["dropout"] - 1 / epochs
            complete(folder, scores=Scores(val=score, test=77.0), seconds=2.0)


if __name__ == "__main__":
    root, study.STARTUP = Path(sys.argv[2]), STARTUP
    run_search(load_search(sys.argv[1]), root, Computed(root / "executed.log", meets=True))
