"""Execution of one run in a launcher's process: every outcome becomes a state."""

from __future__ import annotations

from contextlib import suppress

from ssmbench.errors import InterruptedRunError, UsageError, one_line
from ssmbench.runs.run import Run


def execute_safely(run: Run, *, raise_errors: bool = False) -> str:
    """Execute a run and return its final state, even if it raises an exception or exits.

    ``raise_errors``: an exception is raised again after it has been recorded.

    Raises:
        InterruptedRunError: a signal stopped the run.
    """
    from ssmbench.runs.execute import (  # slow: imports torch and Lightning
        execute,
        reason_of_crash,
    )

    if run.folder.state == "unreadable":  # never overwritten without --force
        return "unreadable"
    try:
        return execute(run, raise_errors=raise_errors)
    except InterruptedRunError:  # the interruption is meant for the launcher as well
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
    """:func:`execute_safely` in a worker, where an interrupted run does not stop the launcher."""
    try:
        return execute_safely(run)
    except InterruptedRunError:
        return "interrupted"


def record_failure(run: Run, reason: str) -> str:
    """Record that a run has failed, if that can be written; returns the state."""
    return _record(run, "failed", reason)


def record_interruption(run: Run, reason: str) -> str:
    """Record that a run was interrupted, if that can be written; returns the state."""
    return _record(run, "interrupted", reason)


def _record(run: Run, state: str, reason: str) -> str:
    with suppress(OSError):  # for example a full disk: the launcher still reports the state
        return run.folder.record_end(state, reason)
    return state
