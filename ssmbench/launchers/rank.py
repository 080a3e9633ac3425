"""A rank of a distributed run: ``python -m ssmbench.launchers.rank FOLDER LABEL PARENT GRACE``.

Started for rank 0 by :mod:`ssmbench.launchers.process`, and by Lightning with the same arguments
for the other ranks of this machine.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path


def main() -> int:
    """Execute a run as the launcher's process; returns the exit code."""
    from ssmbench.launchers.process import HELD
    from ssmbench.launchers.watch import watch
    from ssmbench.launchers.worker import execute_in_worker, record_interruption
    from ssmbench.runs.run import Run

    folder, label, parent, grace = sys.argv[1:]
    faulthandler.enable()
    run = Run.load(Path(folder)).labelled(label)
    is_first = "LOCAL_RANK" not in os.environ  # set by Lightning for those that it starts
    if is_first:
        watch(int(parent), float(grace), lambda reason: record_interruption(run, reason))
    state = execute_in_worker(run)
    return HELD if is_first and state == "running" else 0


if __name__ == "__main__":
    sys.exit(main())
