"""Save figures as PNG files, without a window and without pyplot's global state."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ssmbench.errors import UsageError


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whatever the suffix of ``path``.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=130, format="png")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return path
