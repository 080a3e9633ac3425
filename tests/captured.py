"""Everything that a call writes, down to the file descriptors, and every warning."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Captured:
    """Filled when the ``with`` block of :func:`captured` ends."""

    out: str = ""
    err: str = ""
    warnings: list[str] = field(default_factory=list)


@contextlib.contextmanager
def captured() -> Iterator[Captured]:
    """Standard output and error of this process, compiled libraries included, and warnings."""
    found = Captured()
    _flush()
    saved = os.dup(1), os.dup(2)
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
        contextlib.redirect_stdout(out),  # a test runner's sys.stdout is not descriptor 1
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield found
        finally:
            _flush()
            for descriptor, open_before in zip((1, 2), saved, strict=True):
                os.dup2(open_before, descriptor)
                os.close(open_before)
            found.out, found.err = _text(out), _text(err)
            found.warnings = [f"{w.category.__name__}: {w.message}" for w in caught]


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _text(file) -> str:
    file.seek(0)
    return file.read()
