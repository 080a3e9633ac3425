"""Sequential execution in this process, for debugging and for machines with one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ssmbench.launchers.base import Ended, Launcher
from ssmbench.launchers.local import execute_in_subprocess, require_one_node
from ssmbench.launchers.worker import execute_safely
from ssmbench.registry import launchers
from ssmbench.runs.run import Run


@dataclass
class Config:
    """``raise_errors``: an exception in a run is recorded and then raised again, which ends the
    suite; for ``python -m pdb``."""

    raise_errors: bool = False


@launchers.register("inline", config=Config)
class Inline(Launcher):
    """One run after another in this process, where ``breakpoint()`` works."""

    def launch(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
        """See :meth:`Launcher.launch`; ``jobs`` is ignored.

        Raises:
            UsageError: a run is for several machines.
            InterruptedRunError: a signal stopped a run, or arrived between two.
        """
        for run in runs:
            require_one_node(run)
        for run in runs:
            if run.is_distributed:
                yield run, execute_in_subprocess(run)
            else:
                yield run, execute_safely(run, raise_errors=self.config.raise_errors)

    def side_by_side(self, jobs: int | None = None) -> int:
        """One; ``jobs`` is ignored."""
        return 1
