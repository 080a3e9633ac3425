"""Standard output is for a verb's answer: whatever else is written there goes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_answer: TextIO | None = None


def say(*words: object) -> None:
    """Print a line of the verb's answer."""
    print(*words, file=answer())


def answer() -> TextIO:
    """The stream of the verb's answer."""
    return _answer or sys.stdout or open(os.devnull, "w")


def replace_what_the_terminal_lacks() -> None:
    """Characters that the encoding of a stream lacks are written as escapes, not refused."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def answers_apart() -> Iterator[None]:
    """Send all that is written to file descriptor 1 to standard error, but for the answer.

    Plugins and libraries print, in Python and in C, while they are imported, while they run and
    while the process ends: in a process of its own, descriptor 1 stays where it was put.
    """
    global _answer
    owned = _fileno(sys.stdout) == 1
    if sys.stdout is not None:
        sys.stdout.flush()
    kept = _duplicate(1)
    _point_stdout_at_stderr()
    _answer = _stream(kept) if owned else sys.stdout or _nowhere()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        stream, _answer = _answer, None
        if not owned and kept is not None:
            _restore(kept)
        _flush(stream, owned)


def _fileno(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # closed by who started us
        return None


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _stream(descriptor: int | None) -> TextIO:
    if descriptor is None:
        return _nowhere()
    encoding = sys.stdout.encoding
    return open(descriptor, "w", encoding=encoding, errors="backslashreplace")


def _flush(stream: TextIO, owned: bool) -> None:
    try:
        stream.flush()
    except OSError:
        if owned:  # else Python would try again, and complain, as it ends
            with _nowhere() as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
        raise


def _point_stdout_at_stderr() -> None:
    try:
        os.dup2(2, 1)
    except OSError:  # there is no standard error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _restore(kept: int) -> None:
    ctypes.CDLL(None).fflush(None)  # what C code still holds belongs to standard error
    os.dup2(kept, 1)
    os.close(kept)
