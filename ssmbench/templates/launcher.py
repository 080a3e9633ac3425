from collections.abc import Iterator, Sequence

from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.worker import execute_safely
from ssmbench.registry import launchers
from ssmbench.runs.run import Run


@launchers.register("smallest_first", citation="this work")
class SmallestFirst(Launcher):
    """One run after another in this process, networks of few channels first."""

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        for run in sorted(runs, key=lambda run: run.config["model"]["d_model"]):
            yield run, execute_safely(run)
