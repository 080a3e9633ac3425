"""A run as a folder: config, status, metrics, checkpoints, TensorBoard events, result."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from omegaconf import OmegaConf

from ssmbench import jsonio
from ssmbench.results import Result, ResultError, SchemaError

#: States in which a run is complete; running its suite again leaves it alone.
DONE = ("finished", "diverged")
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``status.json``, ``metrics.jsonl``, ``checkpoints/``, ``tensorboard/``,
    ``result.json``, ``poles.npz``, ``worst_input.npz``, and ``error.txt`` of a run that failed."""

    path: Path

    @property
    def status(self) -> dict[str, Any]:
        """``{"state": ..., "updated": seconds}``; the state is ``missing`` before the first run."""
        status = read_json(self.path / "status.json")
        return status if fits(status, {"state": str}) else {"state": "missing"}

    @property
    def state(self) -> str:
        """missing, running, interrupted, out_of_time, failed, finished, diverged, damaged, or
        unreadable: complete, and the result is of a schema that this version does not read."""
        state = self.status["state"]
        if state == "running" and not self.is_held:  # kill -9 leaves no other trace
            return "interrupted"
        return self._defect[0] or state if state in DONE else state

    @property
    def reason(self) -> str:
        """Why the run is in its state, where there is more to say."""
        state = self.state
        default = "its process ended" if state == "interrupted" else ""
        found = state in ("damaged", "unreadable")
        return self._defect[1] if found else str(self.status.get("reason", default))

    @property
    def is_done(self) -> bool:
        return self.state in DONE

    @property
    def _defect(self) -> tuple[str, str]:
        """The state of a complete run whose files cannot be used, and why; both "" of others."""
        try:
            self.read_result()
        except SchemaError as error:
            return "unreadable", str(error)
        except ResultError as error:
            return "damaged", str(error)
        if read_poles(self.path) is None:
            return "damaged", "poles.npz cannot be read"
        return "", ""

    @property
    def result(self) -> Result | None:
        """The result of a complete run; None where there is none that can be read."""
        try:
            return self.read_result()
        except ResultError:
            return None

    def read_result(self) -> Result:
        """The result of a complete run.

        Raises:
            SchemaError: it is of a schema that this version does not read.
            ResultError: there is none, or it is damaged.
        """
        return Result.from_dict(read_json(self.path / RESULT_FILE), RESULT_FILE)

    @property
    def is_held(self) -> bool:
        """Whether a process has the run; True where the file system cannot tell."""
        try:
            with (self.path / "lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the config: what is no part of the run's name may differ from the last time."""
        write_atomically(self.path / "config.yaml", dump_yaml(config))

    def write_status(self, state: str, **details: Any) -> None:
        """Replace the status in one step: a reader never sees half of it."""
        content = {"state": state, "updated": round(time.time(), 3), "pid": os.getpid(), **details}
        write_atomically(self.path / "status.json", jsonio.dumps(content))

    def write_result(self, result: Result) -> None:
        write_atomically(self.path / RESULT_FILE, jsonio.dumps(result.to_dict(), indent=2))

    def clear(self) -> None:
        """Delete all but the config and the lock, the status first: the run is then missing."""
        (self.path / "status.json").unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in ("config.yaml", "lock"):
                entry.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether this process has the run to itself; the kernel frees the lock of a dead one."""
        with (self.path / "lock").open("w") as file:
            yield _take(file)


def _take(file: IO[str]) -> bool:
    """Lock a file, once more after a moment: :attr:`RunFolder.is_held` takes it to look."""
    for pause in (0.02, 0.05, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is None:
                return False
            time.sleep(pause)
        else:
            break
    return True


def read_poles(folder: Path) -> dict[str, np.ndarray] | None:
    """The poles of a run's layers, complex, by layer; None where the file is missing or damaged."""
    try:
        with np.load(folder / "poles.npz", allow_pickle=False) as saved:
            poles = {name: np.asarray(saved[name]) for name in saved.files}
    except Exception:  # of many types, depending on where the damage is
        return None
    numbers = all(np.issubdtype(array.dtype, np.number) for array in poles.values())
    return poles if poles and numbers else None


def fits(value: Any, shape: Any) -> bool:
    """Whether a value read from JSON has a shape: a type, a tuple of them, a list of one shape, or
    a dict of those of the keys that must be there."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], part) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    return isinstance(value, shape) and not (isinstance(value, bool) and shape is not bool)


def dump_yaml(config: Mapping[str, Any]) -> str:
    """YAML that :func:`ssmbench.config.read_yaml` reads back as the same values."""
    return OmegaConf.to_yaml(dict(config))


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None where there is none or it is damaged."""
    try:
        return jsonio.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside ``path`` and rename it into place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
