"""Standard output contains only the answer of a verb; all other output goes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from ssmbench.registry import LOGGER

_answer: TextIO | None = None
_LONGEST_LINE = 2000


def say(*words: object) -> None:
    """Print a line of the verb's answer."""
    print(*words, file=answer())


def warn(text: str) -> None:
    """Print a warning on standard error, in red if that is a terminal with colours."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    console.print(f"warning: {one_line(text)}", style="bold red", markup=False, highlight=False)


def answer() -> TextIO:
    """The stream of the verb's answer."""
    return _answer or sys.stdout or open(os.devnull, "w")


def one_line(text: str) -> str:
    """A message as one printable line, truncated if it is very long."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:_LONGEST_LINE]}..."


@contextlib.contextmanager
def configured() -> Iterator[None]:
    """A context in which both streams escape characters that they cannot encode, warnings are
    printed without source positions, and imports of plugins are reported on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logger, shown = logging.getLogger(LOGGER), warnings.showwarning
    notices, level = _Notices(), logger.level
    logger.addHandler(notices)
    logger.setLevel(logging.INFO)
    warnings.showwarning = _show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        logger.removeHandler(notices)
        logger.setLevel(level)


def _show_warning(message: Warning | str, *place: object, **where: object) -> None:
    print(f"warning: {one_line(str(message))}", file=sys.stderr, flush=True)


class _Notices(logging.Handler):
    """Lines on standard error; in a distributed run, only rank 0 writes them."""

    def emit(self, record: logging.LogRecord) -> None:
        if all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK")):
            print(one_line(record.getMessage()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def redirected() -> Iterator[None]:
    """A context in which everything written to file descriptor 1, except the answer, goes to
    standard error.

    Plugins and libraries print, from Python and from C, during import, execution and shutdown of
    the process. If ``sys.stdout`` is descriptor 1, the redirection therefore stays until the
    process ends.
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
        if stream is not None:
            _flush(stream, owned)


def _fileno(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # closed by the parent process
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
        if owned:  # otherwise Python would try again, and complain, at shutdown
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
    ctypes.CDLL(None).fflush(None)  # buffered output of C code belongs to standard error
    os.dup2(kept, 1)
    os.close(kept)
