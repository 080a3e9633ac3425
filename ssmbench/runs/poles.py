"""The poles of a run's layers, in ``poles.npz``."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

POLES_FILE = "poles.npz"


def write_poles(
    folder: Path, poles: Sequence[np.ndarray], check: Callable[[], None] | None = None
) -> None:
    """Write the complex poles of each layer; ``check`` as in :func:`write_atomically`.

    Raises:
        WriteError: the file cannot be written.
    """
    layers: dict[str, Any] = {f"layer{index}": values for index, values in enumerate(poles)}
    write_atomically(folder / POLES_FILE, npz(layers), durable=True, check=check)


def npz(arrays: dict[str, Any]) -> bytes:
    """The content of a compressed NPZ file."""
    import numpy as np  # here, because reading a run's state does not need it

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def read_poles(folder: Path) -> dict[str, np.ndarray] | None:
    """The complex poles of a run, by layer name; None if the file is missing or damaged."""
    import numpy as np

    try:
        with np.load(folder / POLES_FILE, allow_pickle=False) as saved:
            poles = {name: np.asarray(saved[name]) for name in saved.files}
    except Exception:  # of many types, depending on where the damage is
        return None
    numbers = all(np.issubdtype(array.dtype, np.number) for array in poles.values())
    return poles if poles and numbers else None
