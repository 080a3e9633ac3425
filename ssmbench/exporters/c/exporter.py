"""One C file with the step of the network, for microcontrollers."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import UsageError
from ssmbench.exporters.base import Exporter, not_readable
from ssmbench.exporters.c.source import metadata_of, source
from ssmbench.files import write_atomically
from ssmbench.program import Program
from ssmbench.registry import exporters

#: How the file is compiled for the check.
FLAGS = ("-std=c99", "-Wall", "-Werror", "-pedantic", "-O1")


@exporters.register("c")
class C(Exporter):
    """One C99 file without dependencies: weights as constants, a state of fixed size, no malloc.

    It computes in float. It is checked by compiling it with ``-std=c99 -Wall -Werror -pedantic``.
    """

    endings = (".c",)

    @classmethod
    def missing(cls) -> str:
        """A C compiler, for the check."""
        return "" if _compiler() else "needs a C compiler to check the file (cc, or set CC)"

    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        write_atomically(files[0], source(program, metadata, identifier(files[0].stem)))

    def read(self, files: Sequence[Path]) -> CompiledNetwork:
        return CompiledNetwork(files[0])


def identifier(name: str) -> str:
    """A name for functions in C."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if re.match("[A-Za-z]", word) else f"network_{word}"


def _compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen and shutil.which(chosen[0]):
        return chosen
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), [])


class CompiledNetwork:
    """A network in C, compiled and loaded into this process; see
    :class:`~ssmbench.exporters.base.Exported`."""

    def __init__(self, file: Path):
        text = file.read_text()
        try:
            self.metadata = metadata_of(text)
            sizes = dict(re.findall(r"^#define \w+_(INPUTS|OUTPUTS|STATES) (\d+)$", text, re.M))
            self._width, self._outputs, self._states = (
                int(sizes[key]) for key in ("INPUTS", "OUTPUTS", "STATES")
            )
        except (ValueError, KeyError):
            raise not_readable(file, "a C file") from None
        name = identifier(file.stem)
        self._tokens = f"int {name}_step({name}_state *state, const int *u" in text
        with tempfile.TemporaryDirectory() as folder:
            self._library = ctypes.CDLL(str(_compiled(file, Path(folder))))
        self._init, self._run = (
            getattr(self._library, f"{name}_{verb}") for verb in ("init", "run")
        )
        self._per_step = self.metadata["output"]["per"] == "step"

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step, (batch, states)."""
        state = np.zeros(max(1, self._states), np.float32)
        self._init(_pointer(state))
        return np.tile(state[: self._states], (batch, 1))

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of one step, and the state after it."""
        y, state = self.sequence(u[:, None], state)
        return (y[:, 0] if self._per_step else y), state

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions of several steps, and the state after them."""
        state = self.initial(len(u)) if state is None else state
        u = np.ascontiguousarray(u, np.int32 if self._tokens else np.float32)
        steps = (u.shape[1],) if self._per_step else ()
        y = np.zeros((len(u), *steps, self._outputs), np.float32)
        after = np.ascontiguousarray(np.pad(state, ((0, 0), (0, not self._states))), np.float32)
        for row in range(len(u)):
            given = (after[row], u[row], ctypes.c_long(u.shape[1]), y[row])
            failed = self._run(*(g if isinstance(g, ctypes.c_long) else _pointer(g) for g in given))
            if failed:
                raise UsageError(f"a token is outside the vocabulary: {u[row].max()}")
        return y, after[:, : self._states]


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _compiled(file: Path, folder: Path) -> Path:
    library = folder / "network.so"
    command = [*_compiler(), *FLAGS, "-shared", "-fPIC", str(file), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        first = (errors or [""])[0].removeprefix(f"{file}:")
        raise UsageError(f"{file}: the C compiler {command[0]} refuses it: {first}")
    return library
