"""Errors for people: one line that says what was wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class SsmbenchError(Exception):
    """Base of every error that ssmbench raises on purpose."""


class UsageError(SsmbenchError):
    """Bad input from the user: the command line prints it as one line and exits with code 2."""


class ShapeError(UsageError, ValueError):
    """Matrices that do not form a linear system: wrong shapes or dtypes."""


class PluginError(UsageError):
    """What a registered component returns is not what its kind must return: the message names the
    component's file and line."""


class DivergedError(SsmbenchError):
    """Training met a loss that is not finite: a result to report, not a crash."""

    def __init__(self, step: int):
        super().__init__(f"diverged at step {step}")
        self.step = step


class OutOfTimeError(SsmbenchError):
    """Training reached ``trainer.max_time``: it is not complete, and can be resumed."""

    def __init__(self, step: int):
        super().__init__(f"out of time at step {step}")
        self.step = step


class InterruptedRunError(SsmbenchError):
    """A run was asked to stop, from the keyboard or by a signal: it can be resumed."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """A sentence naming the nearest of ``choices``, or all of them when none is near."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(choice) for choice in near) + "?"
    return "known: " + (", ".join(known) if known else "none")


def one_line(error: BaseException) -> str:
    """The last non-empty line of an error's message, for listings."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def shown_path(file: str | Path) -> str:
    """A path relative to the working folder where it lies inside it, absolute elsewhere."""
    path = Path(file).absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def line_within(error: BaseException, files: Iterable[str | Path]) -> str | None:
    """The innermost line of an error's traceback that lies in one of ``files``, or in a folder
    among them, as ``plugins/x.py:41 in forward``; None where there is none.

    A syntax error, which has no line of execution, is located by its own position.
    """
    places = [Path(file).resolve() for file in files]

    def inside(name: str) -> bool:
        path = Path(name).resolve()
        return any(path == place or place in path.parents for place in places)

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
