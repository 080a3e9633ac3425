"""Two programs of torch.export: the step and the sequence function."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmbench import jsonio
from ssmbench.exporters.base import Exporter, not_readable, require_inputs
from ssmbench.files import write_atomically
from ssmbench.program import Program
from ssmbench.registry import exporters

if TYPE_CHECKING:
    import torch

#: The file in a .pt2 archive that holds the metadata.
METADATA = "ssmbench.json"
#: The file beside it that says what the network reads and predicts.
SIGNATURE = "signature.json"


@exporters.register("torch_export")
class TorchExport(Exporter):
    """Two programs for ``torch.export.load``, with batch and length of any size: a step, and a
    sequence in which the linear systems are scans and everything else reads all steps at once.

    They are differentiable and can be compiled, and need PyTorch alone.
    """

    endings = (".step.pt2", ".sequence.pt2")

    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        import torch

        about = {METADATA: jsonio.dumps(metadata), SIGNATURE: jsonio.dumps(program.signature())}
        for file, sequence in zip(files, (False, True), strict=True):
            content = io.BytesIO()
            torch.export.save(_traced(program, sequence), content, extra_files=about)
            write_atomically(file, content.getvalue())

    def read(self, files: Sequence[Path]) -> TorchNetwork:
        return TorchNetwork(*files)


def _traced(program: Program, sequence: bool) -> torch.export.ExportedProgram:
    import torch

    from ssmbench.exporters.torch_export.module import ProgramModule

    module = ProgramModule(program, sequence=sequence).eval()
    steps = (5,) if sequence else ()
    u = torch.zeros(3, *steps, dtype=torch.int64)
    if program.vocabulary is None:
        u = torch.zeros(3, *steps, program.width)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    dynamic = {"u": {0: batch, **({1: length} if sequence else {})}, "state": {0: batch}}
    with torch.no_grad():
        return torch.export.export(
            module, (u, torch.zeros(3, program.states)), dynamic_shapes=dynamic
        )


class TorchNetwork:
    """A network of two exported programs; see :class:`~ssmbench.exporters.base.Exported`."""

    def __init__(self, step: Path, sequence: Path):
        self._step, self.metadata, self._signature = _loaded(step)
        self._sequence, *_ = _loaded(sequence)
        self._initial = self._step.get_buffer("initial").numpy()

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step, (batch, states)."""
        return np.tile(self._initial, (batch, 1))

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of one step, and the state after it."""
        require_inputs(self._signature, u, state, steps=False)
        return _run(self._step, u, state)

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions of several steps, and the state after them."""
        state = self.initial(len(u)) if state is None else state
        require_inputs(self._signature, u, state, steps=True)
        return _run(self._sequence, u, state)


def _run(module: Any, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import torch

    given = (np.ascontiguousarray(array) for array in (u, state.astype(np.float32)))
    with torch.no_grad():
        y, after = module(*map(torch.from_numpy, given))
    return y.numpy(), after.numpy()


def _loaded(file: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    import torch

    about = {METADATA: "", SIGNATURE: ""}
    if not zipfile.is_zipfile(file):  # PyTorch would log its own attempts
        raise not_readable(file, "a program of torch.export")
    try:
        program = torch.export.load(io.BytesIO(file.read_bytes()), extra_files=about)
        return program.module(), jsonio.loads(about[METADATA]), jsonio.loads(about[SIGNATURE])
    except Exception as error:  # of many types, depending on where the damage is
        raise not_readable(file, "a program of torch.export") from error
