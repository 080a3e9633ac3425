"""The folder of a run: config, status, metrics, checkpoints, TensorBoard events, result."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ssmbench import jsonio
from ssmbench.files import write_atomically
from ssmbench.results import Result, ResultError, SchemaError
from ssmbench.runs.place import place
from ssmbench.runs.poles import read_poles
from ssmbench.runs.states import COMPLETE
from ssmbench.yamlio import dump_yaml

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
        status = jsonio.read(self.path / "status.json")
        return status if jsonio.has_shape(status, {"state": str}) else {"state": "missing"}

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
        return Result.from_dict(jsonio.read(self.path / RESULT_FILE), RESULT_FILE)

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
