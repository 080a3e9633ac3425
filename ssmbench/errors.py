"""Error types whose messages are one line: what was wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import signal
import traceback
from collections.abc import Iterable
from pathlib import Path


class SsmbenchError(Exception):
    """Base class of all errors that ssmbench raises deliberately."""


class UsageError(SsmbenchError):
    """Invalid user input: the command line prints the message on one line and exits with code 2."""


class ShapeError(UsageError, ValueError):
    """Matrices that do not form a linear system, because of their shapes or dtypes."""


class PluginError(UsageError):
    """A registered component does not return what its kind requires; the message names the
    component's file and line."""


class DivergedError(SsmbenchError):
    """The training loss became infinite or NaN: a result to report, not a crash."""

    def __init__(self, step: int):
        super().__init__(f"diverged at step {step}")
        self.step = step


class OutOfTimeError(SsmbenchError):
    """Training reached ``trainer.max_time`` before its end; it can be resumed."""

    def __init__(self, step: int):
        super().__init__(f"out of time at step {step}")
        self.step = step


class OutOfMemoryError(SsmbenchError):
    """Memory ran out in a run; the message says where, and which setting to lower."""


class InterruptedRunError(SsmbenchError):
    """A run or a suite was stopped from the keyboard or by a signal; it can be resumed.

    ``signal``: its number; ``exit_code``: that of a process which a signal ends, 128 + the number.
    """

    def __init__(self, message: str, signal: int = signal.SIGINT):
        super().__init__(message)
        self.signal = int(signal)

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.signal)


class ClaimLostError(SsmbenchError):
    """Another process has taken over the run that this one executes: it writes nothing more."""


class LostRankError(SsmbenchError):
    """Another process of a distributed run failed, or the connection to it was lost."""


class WriteError(SsmbenchError, OSError):
    """A file cannot be written: the disk is full, or its folder is read-only."""

    @classmethod
    def of(cls, file: str | Path, error: OSError) -> WriteError:
        found = cls(f"{file}: cannot be written: {error.strerror or error}")
        found.errno = error.errno
        return found


def suggest(name: str, choices: Iterable[str]) -> str:
    """A phrase with the choices nearest to ``name``, or with all choices if none is near."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(choice) for choice in near) + "?"
    return "known: " + (", ".join(known) if known else "none")


def one_line(error: BaseException) -> str:
    """The error's type and the last non-empty line of its message, for listings."""
    name, line = type(error).__name__, last_line(error)
    return f"{name}: {line}" if line else name


def last_line(error: BaseException) -> str:
    """The last non-empty line of the error's message; "" if the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def shown_path(file: str | Path) -> str:
    """The path relative to the working folder if it lies inside it, else the absolute path."""
    path = Path(file).absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def line_within(error: BaseException, files: Iterable[str | Path]) -> str | None:
    """The innermost traceback line that lies in one of ``files`` (or in a folder among them), in
    the form ``plugins/x.py:41 in forward``; None if there is no such line.

    A syntax error is located by the position that it reports, because no line was executed.
    """
    paths = [Path(file).resolve() for file in files]

    def inside(name: str) -> bool:
        path = Path(name).resolve()
        return any(path == given or given in path.parents for given in paths)

    if isinstance(error, SyntaxError) and error.filename and inside(error.filename):
        return f"{shown_path(error.filename)}:{error.lineno}"
    lines = [line for line in traceback.extract_tb(error.__traceback__) if inside(line.filename)]
    if not lines:
        return None
    function = "" if lines[-1].name == "<module>" else f" in {lines[-1].name}"
    return f"{shown_path(lines[-1].filename)}:{lines[-1].lineno}{function}"


def require(condition: bool, message: str) -> None:
    """Raise a :class:`UsageError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(message)
