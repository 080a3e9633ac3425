"""Save figures by the suffix of the file, without a window and without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from ssmbench.errors import UsageError, WriteError, require, suggest
from ssmbench.files import write_atomically

#: What :func:`save_figure` writes.
SUFFIXES = (".png", ".svg", ".pdf")
#: No date, and no version of a library, so that the same figure is the same file.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def check_suffix(path: Path, allowed: Iterable[str] = SUFFIXES) -> str:
    """The suffix of a file, in lower case.

    Raises:
        UsageError: it is not among the allowed ones.
    """
    suffix, known = path.suffix.lower(), tuple(allowed)
    found = f"unknown suffix {path.suffix!r}" if suffix else "the name has no suffix"
    require(suffix in known, f"{path}: {found}, which says the format; {suggest(suffix, known)}")
    return suffix


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, SVG or PDF, as the suffix of ``path`` says.

    Raises:
        UsageError: the suffix is another one, or the file cannot be written.
    """
    kind = check_suffix(path)[1:]
    return write(path, _rendered(figure, kind))


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    return _rendered(figure, "png")


def _rendered(figure: Figure, kind: str) -> bytes:
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ssmbench"}):
        figure.savefig(stream, format=kind, dpi=150, metadata=_METADATA[kind])
    return stream.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Write the file of a figure.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_atomically(path, content)
    except WriteError as error:
        raise UsageError(str(error)) from None
    return path
