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
from ssmbench.exporters.base import Exporter, not_readable, require_inputs
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
        if _compiler():
            return ""
        chosen = os.environ.get("CC", "")
        why = f", not CC={chosen}, which does not exist" if chosen else ""
        return f"needs a C compiler to check the file (cc, or set CC{why})"

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
    if chosen:
        return chosen if shutil.which(chosen[0]) else []
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), [])


class CompiledNetwork:
    """A network in C, compiled and loaded into this process; see
    :class:`~ssmbench.exporters.base.Exported`."""

    def __init__(self, file: Path):
        try:
            text = file.read_text("utf-8")
            self.metadata = metadata_of(text)
            name, self._signature = _signature(text, self.metadata)
        except (ValueError, KeyError, IndexError, TypeError):
            raise not_readable(file, "a C file") from None
        self._outputs, self._states = (self._signature[key] for key in ("outputs", "states"))
        self._tokens = self._signature["vocabulary"] is not None
        with tempfile.TemporaryDirectory() as folder:
            self._library = _loaded(_compiled(file, Path(folder)))
        self._init, self._run = (
            getattr(self._library, f"{name}_{verb}") for verb in ("init", "run")
        )
        self._per_step = self._signature["per_step"]

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step, (batch, states)."""
        state = np.zeros(max(1, self._states), np.float32)
        self._init(_pointer(state))
        return np.tile(state[: self._states], (batch, 1))

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of one step, and the state after it."""
        require_inputs(self._signature, u, state, steps=False)
        y, state = self.sequence(u[:, None], state)
        return (y[:, 0] if self._per_step else y), state

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions of several steps, and the state after them."""
        state = self.initial(len(u)) if state is None else state
        require_inputs(self._signature, u, state, steps=True)
        u = np.ascontiguousarray(u, np.int32 if self._tokens else np.float32)
        steps = (u.shape[1],) if self._per_step else ()
        y = np.zeros((len(u), *steps, self._outputs), np.float32)
        after = np.ascontiguousarray(np.pad(state, ((0, 0), (0, not self._states))), np.float32)
        for row in range(len(u)):
            given = (after[row], u[row], ctypes.c_long(u.shape[1]), y[row])
            self._run(*(g if isinstance(g, ctypes.c_long) else _pointer(g) for g in given))
        return y, after[:, : self._states]


def _signature(text: str, metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of the network in a file, whatever the file's own name is, and what it reads."""
    name = re.findall(r"^void (\w+)_init\(\w+ \*state\);$", text, re.M)[0]
    sizes = dict(re.findall(r"^#define \w+_([A-Z]+) (\d+)$", text, re.M))
    vocabulary = sizes.get("VOCABULARY")
    return name, {
        "width": int(sizes["INPUTS"]),
        "outputs": int(sizes["OUTPUTS"]),
        "states": int(sizes["STATES"]),
        "vocabulary": None if vocabulary is None else int(vocabulary),
        "per_step": metadata["output"]["per"] == "step",
    }


def _loaded(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        raise UsageError(
            f"export: what {_compiler()[0]} compiles does not run on this computer, on which the "
            "file is checked; allowed: CC as a compiler for this computer"
        ) from None


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
