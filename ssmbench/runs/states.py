"""The states of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Every state that a run can be in, and what it means.
STATES: Final[Mapping[str, str]] = {
    "missing": "never started, or its status cannot be read",
    "queued": "handed to a scheduler, which has not started it yet",
    "running": "a process is executing it",
    "interrupted": "stopped by a signal, or its process ended: it can be resumed",
    "out_of_time": "stopped by trainer.max_time: it can be resumed",
    "failed": "its code or its data raised an error; error.txt has the traceback",
    "finished": "complete, with scores",
    "diverged": "complete, without scores: the loss became infinite or NaN",
    "damaged": "complete, but its result or its poles cannot be read: it is run again",
    "unreadable": "complete, but this version does not read its result's schema: kept as it is",
}

#: States in which a run is complete, so that it is not executed again.
COMPLETE: Final = ("finished", "diverged")
