"""One run in a process of a launcher: whatever happens in it becomes a state."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

from ssmbench.errors import InterruptedRunError, UsageError, one_line
from ssmbench.runs.run import Run


def execute_safely(run: Run, *, raise_errors: bool = False) -> str:
    """Execute a run; the state that it ends in, also where something in it raises or exits.

    ``raise_errors``: an exception is raised again after it was recorded.

    Raises:
        InterruptedRunError: Control-C or SIGTERM.
    """
    from ssmbench.runs.execute import (  # torch and Lightning take their time
        execute,
        reason_of_crash,
    )

    if run.folder.state == "unreadable":  # a result that is not ours to overwrite unasked
        return "unreadable"
    try:
        return execute(run, raise_errors=raise_errors)
    except InterruptedRunError:  # whoever stops this process stops what it would do next as well
        raise
    except SystemExit as stopped:
        return record_failure(run, f"code of this run called sys.exit({stopped.code!r})")
    except UsageError as error:
        return record_failure(run, str(error))
    except Exception as error:
        if raise_errors:
            raise
        try:
            return record_failure(run, reason_of_crash(run.folder, error))
        except OSError:  # a full disk
            return record_failure(run, one_line(error))


def execute_in_worker(run: Run) -> str:
    """:func:`execute_safely` where stopping a run is not stopping the launcher."""
    try:
        return execute_safely(run)
    except InterruptedRunError:
        return "interrupted"


def execute_in_subprocess(run: Run) -> str:
    """Execute a run in a process of its own, which Lightning may start again for each rank."""
    folder = run.create()
    folder.write_config(run.config)
    command = [sys.executable, "-m", "ssmbench", "run", str(folder.path / "config.yaml")]
    command += ["--output", str(folder.path.parent)]
    process = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if process.returncode and folder.status["state"] == "running":
        return record_failure(run, "the worker process died")
    return folder.state


def record_failure(run: Run, reason: str) -> str:
    """Write down that a run has failed, where that can be written; its state."""
    with suppress(OSError):  # a full disk: the launcher goes on, and reports the failure itself
        run.folder.write_status("failed", reason=reason)
    return "failed"
