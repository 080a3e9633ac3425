"""A run as a folder: config, status, metrics, checkpoints, TensorBoard events, result."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ssmbench import jsonio
from ssmbench.config import fingerprint
from ssmbench.errors import UsageError

#: States in which a run is complete; running its suite again leaves it alone.
DONE = ("finished", "diverged")


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``status.json``, ``metrics.jsonl``, ``checkpoints/``, ``tensorboard/``,
    ``result.json``, ``poles.npz``, ``worst_input.npz``, and ``error.txt`` of a run that failed."""

    path: Path

    @classmethod
    def create(cls, root: Path, config: Mapping[str, Any]) -> RunFolder:
        """The folder of a resolved config, named by its fingerprint; made where missing.

        Raises:
            UsageError: the folder cannot be made.
        """
        folder = cls(root / fingerprint(config))
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder.path}: cannot be made: {error.strerror}") from None
        if not (folder.path / "config.yaml").exists():
            write_atomically(folder.path / "config.yaml", dump_yaml(config))
        return folder

    @property
    def status(self) -> dict[str, Any]:
        """``{"state": ..., "updated": seconds}``; the state is ``missing`` before the first run."""
        return read_json(self.path / "status.json") or {"state": "missing"}

    @property
    def state(self) -> str:
        """missing, running, finished, diverged or failed."""
        return self.status["state"]

    @property
    def is_done(self) -> bool:
        return self.state in DONE and (self.path / "result.json").exists()

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of a complete run."""
        return read_json(self.path / "result.json")

    def write_status(self, state: str, **details: Any) -> None:
        """Replace the status in one step: a reader never sees half of it."""
        content = {"state": state, "updated": round(time.time(), 3), "pid": os.getpid(), **details}
        write_atomically(self.path / "status.json", jsonio.dumps(content))

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_atomically(self.path / "result.json", jsonio.dumps(result, indent=2))

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether this process has the run to itself; the kernel frees the lock of a dead one."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def dump_yaml(config: Mapping[str, Any]) -> str:
    """YAML that :func:`ssmbench.config.read_yaml` reads back as the same values."""
    return OmegaConf.to_yaml(dict(config))


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or None where there is none or it is damaged."""
    try:
        return jsonio.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside ``path`` and rename it into place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
