from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench import jsonio
from ssmbench.exporters.base import Exporter, not_readable
from ssmbench.program import Program
from ssmbench.program.reference import Network
from ssmbench.registry import exporters


@exporters.register("json_text", citation="this work")
class JsonText(Exporter):
    """All numbers as text, for languages without binary files; the reference in NumPy runs it."""

    endings = (".json",)

    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        about = {**program.description(), "metadata": metadata}
        arrays = {
            name: {"type": str(array.dtype), "numbers": array.tolist()}
            for name, array in program.arrays().items()
        }
        files[0].write_text(jsonio.dumps({"about": about, "arrays": arrays}))

    def read(self, files: Sequence[Path]) -> Network:
        try:
            found = jsonio.loads(files[0].read_text())
        except ValueError:
            raise not_readable(files[0], "a JSON file") from None
        arrays = {k: np.array(v["numbers"], v["type"]) for k, v in found["arrays"].items()}
        return Network(found["about"], arrays, np.float32)
