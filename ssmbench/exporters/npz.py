"""Plain arrays with a description in JSON: for NumPy alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench import jsonio
from ssmbench.exporters.base import Exporter, not_readable
from ssmbench.files import write_atomically
from ssmbench.program import Program
from ssmbench.program.reference import Network
from ssmbench.registry import exporters


@exporters.register("npz")
class Npz(Exporter):
    """Arrays by ``operation.name`` and ``description``, a JSON text of the operations.

    :mod:`ssmbench.program.reference`, a file that imports NumPy alone, runs it.
    """

    endings = (".npz",)

    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        text = jsonio.dumps({"metadata": metadata, **program.description()})
        content = io.BytesIO()
        arrays: dict[str, Any] = {"description": np.array(text), **program.arrays()}
        np.savez_compressed(content, **arrays)
        write_atomically(files[0], content.getvalue())

    def read(self, files: Sequence[Path]) -> Network:
        try:
            return Network.load(files[0])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise not_readable(files[0], "an .npz file") from error
