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

#: States in which a run is complete; running its suite again leaves it alone.
DONE = ("finished", "diverged")

_FIGURE = (int, float, type(None))
_NETWORK = {"bound": _FIGURE, "reason": str, "attacked": _FIGURE}
_GAIN = dict.fromkeys(("declared", "verified", "attacked", "spectral_radius"), _FIGURE) | {
    "violations": [str],
    "network": _NETWORK,
}
_SCORES = {"val": (int, float), "test": (int, float)}
_TASK = {"name": str, "source": str, "score": str, "higher_is_better": bool, "unit": str}
#: What the readers of a result rely on.
RESULT = {
    "status": str,
    "diverged_at": (int, type(None)),
    "scores": dict,
    "task": _TASK,
    "gain": _GAIN,
    "robustness": [{"kind": str, "energy": (int, float), "score": _FIGURE}],
    "parameters": int,
    "steps_per_second": _FIGURE,
    "environment": {"device": str, "threads": int},
}


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
        """missing, running, interrupted, out_of_time, failed, finished, diverged or damaged."""
        state = self.status["state"]
        if state == "running" and not self.is_held:  # kill -9 leaves no other trace
            return "interrupted"
        return "damaged" if state in DONE and self.damage else state

    @property
    def reason(self) -> str:
        """Why the run is in its state, where there is more to say."""
        state = self.state
        default = "its process ended" if state == "interrupted" else ""
        return self.damage if state == "damaged" else str(self.status.get("reason", default))

    @property
    def is_done(self) -> bool:
        return self.state in DONE

    @property
    def damage(self) -> str:
        """What is wrong with the files of a complete run, the first one named; "" where nothing."""
        if self.result is None:
            return "result.json is no result"
        return "" if read_poles(self.path) is not None else "poles.npz cannot be read"

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of a complete run; None where there is none or it is damaged."""
        result = _with_keys_of_schema_2(read_json(self.path / "result.json"))
        return result if _is_result(result) else None

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

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_atomically(self.path / "result.json", jsonio.dumps(result, indent=2))

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


def _with_keys_of_schema_2(result: Any) -> Any:
    """For the readers that do not take a :class:`~ssmbench.results.Result` yet."""
    if not fits(result, {"schema": int, "task": dict}) or result["schema"] < 3:
        return result
    task = {"score" if key == "metric" else key: v for key, v in result["task"].items()}
    return result | {"task": task, "scores": result.get("scores") or {}}


def _is_result(value: Any) -> bool:
    if not fits(value, RESULT) or value["status"] not in DONE:
        return False
    return value["status"] != "finished" or fits(value["scores"], _SCORES)


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
