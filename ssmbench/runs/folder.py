"""The folder of a run: config, status, metrics, checkpoints, TensorBoard events, result."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from omegaconf import OmegaConf

from ssmbench import jsonio
from ssmbench.results import Result, ResultError, SchemaError
from ssmbench.runs.place import place
from ssmbench.runs.states import COMPLETE

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``status.json``, ``metrics.jsonl``, ``checkpoints/``, ``tensorboard/``,
    ``result.json``, ``poles.npz``, ``worst_input.npz``, and ``error.txt`` if the run failed."""

    path: Path

    @property
    def status(self) -> dict[str, Any]:
        """``{"state": ..., "updated": Unix time in seconds, ...}``; the state is ``missing`` if the
        run was never started."""
        status = read_json(self.path / "status.json")
        return status if has_shape(status, {"state": str}) else {"state": "missing"}

    @property
    def state(self) -> str:
        """One of :data:`ssmbench.runs.states.STATES`."""
        state = self.status["state"]
        if state == "running" and not self.is_held:  # the only trace of kill -9
            return "interrupted"
        if state == "queued" and self.is_held:  # the job started before it was written
            return "running"
        return self._defect[0] or state if state in COMPLETE else state

    @property
    def reason(self) -> str:
        """Why the run is in its state; empty if the state explains itself."""
        state = self.state
        default = "its process ended" if state == "interrupted" else ""
        found = state in ("damaged", "unreadable")
        return self._defect[1] if found else str(self.status.get("reason", default))

    @property
    def is_complete(self) -> bool:
        """Whether there is a result: the run is finished, or it diverged."""
        return self.state in COMPLETE

    @property
    def _defect(self) -> tuple[str, str]:
        """State and reason of a run whose files cannot be used; both "" if they can."""
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
        """The result of a complete run; None if there is no readable result."""
        try:
            return self.read_result()
        except ResultError:
            return None

    def read_result(self) -> Result:
        """The result of a complete run.

        Raises:
            SchemaError: its schema is not supported by this version.
            ResultError: there is no result, or it is damaged.
        """
        return Result.from_dict(read_json(self.path / RESULT_FILE), RESULT_FILE)

    @property
    def is_held(self) -> bool:
        """Whether a process holds the run's lock; True if the file system cannot tell."""
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
        """Replace the config: options that are not part of the fingerprint may have changed."""
        write_atomically(self.path / "config.yaml", dump_yaml(config))

    def write_status(self, state: str, **details: Any) -> None:
        """Replace the status atomically, so that readers never see a partial file.

        It has host, boot id, process and Slurm job of this process, and ``details``: ``reason``,
        or the ``job`` that a launcher has queued the run in. A run that its job has started or
        completed meanwhile does not become ``queued`` again.
        """
        if state == "queued" and self.state in ("running", *COMPLETE):
            return
        content = {"state": state, "updated": round(time.time(), 3), **place(), **details}
        write_atomically(self.path / "status.json", jsonio.dumps(content))

    def write_result(self, result: Result) -> None:
        write_atomically(self.path / RESULT_FILE, jsonio.dumps(result.to_dict(), indent=2))

    def clear(self) -> None:
        """Delete everything except the config and the lock. The status is deleted first, after
        which the run's state is ``missing``."""
        (self.path / "status.json").unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in ("config.yaml", "lock"):
                entry.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Try to lock the run for this process; yields whether that succeeded.

        The kernel releases the lock when the process ends, however it ends.
        """
        with (self.path / "lock").open("w") as file:
            yield _try_lock(file)


def _try_lock(file: IO[str]) -> bool:
    """Lock a file without waiting; returns whether that succeeded.

    Retried briefly, because :attr:`RunFolder.is_held` locks the file for a moment.
    """
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


def write_poles(folder: Path, poles: Sequence[np.ndarray]) -> None:
    """Write the complex poles of each layer to ``poles.npz``."""
    layers: dict[str, Any] = {f"layer{index}": values for index, values in enumerate(poles)}
    np.savez_compressed(folder / "poles.npz", **layers)


def read_poles(folder: Path) -> dict[str, np.ndarray] | None:
    """The complex poles of a run, by layer name; None if the file is missing or damaged."""
    try:
        with np.load(folder / "poles.npz", allow_pickle=False) as saved:
            poles = {name: np.asarray(saved[name]) for name in saved.files}
    except Exception:  # of many types, depending on where the damage is
        return None
    numbers = all(np.issubdtype(array.dtype, np.number) for array in poles.values())
    return poles if poles and numbers else None


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value read from JSON matches ``shape``: a type, a tuple of alternative types, a
    one-element list with the shape of all items, or a dict with the shapes of required keys."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and has_shape(value[key], part) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(item, shape[0]) for item in value)
    return isinstance(value, shape) and not (isinstance(value, bool) and shape is not bool)


def dump_yaml(config: Mapping[str, Any]) -> str:
    """YAML that :func:`ssmbench.config.read_yaml` reads back as the same values."""
    return OmegaConf.to_yaml(dict(config))


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if the file is missing or damaged."""
    try:
        return jsonio.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside ``path`` and rename it into place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
