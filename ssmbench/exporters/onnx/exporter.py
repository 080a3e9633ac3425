"""Two ONNX graphs: the step and the sequence function."""

from __future__ import annotations

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
    import onnxruntime


@exporters.register("onnx")
class Onnx(Exporter):
    """Two ONNX graphs with batch and length of any size: a step, and a sequence in which the linear
    systems are Scan loops and everything else reads all steps at once.

    Checked with ONNX Runtime.
    """

    endings = (".step.onnx", ".sequence.onnx")
    needs = ("onnx", "onnxruntime")
    extra = "onnx"

    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        from ssmbench.exporters.onnx.graph import model

        for file, sequence in zip(files, (False, True), strict=True):
            made = model(program, metadata, sequence=sequence)
            write_atomically(file, made.SerializeToString())

    def read(self, files: Sequence[Path]) -> RuntimeNetwork:
        return RuntimeNetwork(*files)


class RuntimeNetwork:
    """A network in ONNX Runtime, on one core of the CPU; see
    :class:`~ssmbench.exporters.base.Exported`."""

    def __init__(self, step: Path, sequence: Path):
        self._step, self._sequence = _session(step), _session(sequence)
        about = self._step.get_modelmeta().custom_metadata_map
        try:
            self.metadata = jsonio.loads(about["ssmbench"])
            self._signature = jsonio.loads(about["signature"])
            self._initial = np.array(jsonio.loads(about["initial"]), np.float32)
        except (KeyError, ValueError):
            raise not_readable(step, "an ONNX file") from None
        self._tokens = "int64" in self._step.get_inputs()[0].type

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step, (batch, states)."""
        return np.tile(self._initial, (batch, 1))

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of one step, and the state after it."""
        require_inputs(self._signature, u, state, steps=False)
        return self._run(self._step, u, state)

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions of several steps, and the state after them."""
        state = self.initial(len(u)) if state is None else state
        require_inputs(self._signature, u, state, steps=True)
        return self._run(self._sequence, u, state)

    def _run(
        self, session: onnxruntime.InferenceSession, u: np.ndarray, state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        given = {
            "u": u.astype(np.int64 if self._tokens else np.float32),
            "state": state.astype(np.float32),
        }
        known = {i.name for i in session.get_inputs()}
        y, after = session.run(None, {k: v for k, v in given.items() if k in known})
        return np.asarray(y), np.asarray(after)


def _session(file: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of types of ONNX Runtime's own
        raise not_readable(file, "an ONNX file") from error
