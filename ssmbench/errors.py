"""Errors for people: one line that says what was wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SsmbenchError(Exception):
    """Base of every error that ssmbench raises on purpose."""


class UsageError(SsmbenchError):
    """Bad input from the user: the command line prints it as one line and exits with code 2."""


class ShapeError(UsageError, ValueError):
    """Matrices that do not form a linear system: wrong shapes or dtypes."""


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


def require(condition: bool, message: str) -> None:
    """Raise a :class:`UsageError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(message)
