"""The folder of a run: config, status, metrics, checkpoints, TensorBoard events, result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.files import delete_abandoned_drafts, write_atomically
from ssmbench.results import SCHEMA, Result, ResultError, SchemaError
from ssmbench.runs.claim import LOCK_FILE, Claim, claimed, holder
from ssmbench.runs.claim_files import Holder, file_server_time, is_claim_file
from ssmbench.runs.place import place
from ssmbench.runs.poles import POLES_FILE, read_poles
from ssmbench.runs.states import COMPLETE
from ssmbench.yamlio import dump_yaml

CONFIG_FILE, STATUS_FILE, RESULT_FILE = "config.yaml", "status.json", "result.json"
#: Files without which a run is not complete; the status has their sizes and times.
_NEEDED = (RESULT_FILE, POLES_FILE)


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``status.json``, ``sittings.jsonl``, ``metrics.jsonl``, ``checkpoints/``,
    ``tensorboard/``, ``result.json``, ``poles.npz``, ``worst_input.npz``, ``error.txt`` if the run
    failed, and ``lock`` and ``claim-N.json``, which say who executes it.

    ``claim`` is that of this process if :meth:`lock` gave the folder. Nothing is written then once
    another process has taken the run over.
    """

    path: Path
    claim: Claim | None = field(default=None, compare=False, repr=False)

    @property
    def status(self) -> dict[str, Any]:
        """``{"state": ..., "updated": Unix time in seconds, ...}``; the state is ``missing`` if the
        run was never started."""
        status = jsonio.read(self.path / STATUS_FILE)
        return status if jsonio.has_shape(status, {"state": str}) else {"state": "missing"}

    @property
    def state(self) -> str:
        """One of :data:`ssmbench.runs.states.STATES`.

        The result of a complete run is read only if size or time of its files are not those that
        the status has of them. :attr:`checked_state` reads it always.
        """
        status = self.status
        state = status["state"]
        if state == "running" and not self.is_held:  # the only trace of kill -9
            return "interrupted"
        if state == "queued" and self.is_held:  # the job started before it was written
            return "running"
        if state in COMPLETE and status.get("files") != self._needed_files():
            return self._defect[0] or state
        return state

    @property
    def checked_state(self) -> str:
        """The state; the result and the poles of a complete run have been read and checked."""
        state = self.state
        return self._defect[0] or state if state in COMPLETE else state

    @property
    def reason(self) -> str:
        """Why the run is in its :attr:`state`; empty if the state explains itself."""
        state = self.state
        if state in ("damaged", "unreadable"):
            return self._defect[1]
        if state in COMPLETE:
            return ""
        if state == "running":
            return self.holder.where if self.holder else ""
        default = "its process ended" if state == "interrupted" else ""
        return str(self.status.get("reason", default))

    @property
    def checked_reason(self) -> str:
        """Why the run is in its :attr:`checked_state`."""
        return self._defect[1] if self.state in COMPLETE else self.reason

    @property
    def is_complete(self) -> bool:
        """Whether there is a result that can be used: the run is finished, or it diverged."""
        return self.checked_state in COMPLETE

    def _needed_files(self) -> dict[str, Any] | None:
        """Sizes and times of the files of a complete run, and the schema of the result that this
        version writes; None if one is missing."""
        try:
            found = {name: (self.path / name).stat() for name in _NEEDED}
        except OSError:
            return None
        known = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}
        return {"schema": SCHEMA, **known}

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
            return "damaged", f"{POLES_FILE} cannot be read"
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
    def holder(self) -> Holder | None:
        """The process, on any host, that executes the run; None if there is none."""
        return holder(self.path)

    @property
    def is_held(self) -> bool:
        """Whether a process, on any host, executes the run."""
        return self.holder is not None

    def check_claim(self) -> None:
        """To be called before something is written to the folder, and regularly in training.

        Raises:
            ClaimLostError: another process has taken the run over.
        """
        if self.claim is not None:
            self.claim.check()

    def write(self, name: str, content: str | bytes, *, durable: bool = False) -> None:
        """Replace a file as a whole, so that readers never see a part of it.

        ``durable``: it is on the disk when this returns, also after a power failure.

        Raises:
            WriteError: it cannot be written; the file is as it was.
            ClaimLostError: another process has taken the run over.
        """
        write_atomically(self.path / name, content, durable=durable, check=self.check_claim)

    def append(self, name: str, value: Any) -> None:
        """Append a line to a JSON Lines file.

        Raises:
            WriteError, ClaimLostError: as :meth:`write`.
        """
        self.check_claim()
        jsonio.append(self.path / name, value)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the config: options that are not part of the fingerprint may have changed."""
        self.write(CONFIG_FILE, dump_yaml(config))

    def write_status(self, state: str, **details: Any) -> None:
        """Replace the status.

        It has host, boot id, process and Slurm job of this process, and ``details``: ``reason``,
        or the ``job`` that a launcher has queued the run in. A run that its job has started or
        completed meanwhile does not become ``queued`` again.

        Raises:
            WriteError, ClaimLostError: as :meth:`write`.
        """
        if state == "queued" and self.state in ("running", *COMPLETE):
            return
        content = {"state": state, "updated": round(time.time(), 3), **place(), **details}
        if state in COMPLETE:
            content["files"] = self._needed_files()
        self.write(STATUS_FILE, jsonio.dumps(content), durable=state in COMPLETE)

    def record_end(self, state: str, reason: str) -> str:
        """Record how the run of a dead process, or of this one, ended; for launchers.

        Returns its state, which is another one, and nothing is written, if another process has gone
        on with the run or has completed it.

        Raises:
            WriteError: it cannot be written.
        """
        holder = self.holder
        if holder is not None and holder.may_write:
            return "running"
        if self.state in COMPLETE:
            return self.state
        self.write_status(state, reason=reason)
        return state

    def write_result(self, result: Result) -> None:
        self.write(RESULT_FILE, jsonio.dumps(result.to_dict(), indent=2), durable=True)

    def clear(self) -> None:
        """Delete everything except the config, the lock and the claim. The status is deleted first,
        after which the run's state is ``missing``."""
        self.check_claim()
        (self.path / STATUS_FILE).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in (CONFIG_FILE, LOCK_FILE) and not is_claim_file(entry.name):
                entry.unlink(missing_ok=True)

    def delete_abandoned_drafts(self) -> None:
        """Delete the drafts of files that killed processes left."""
        delete_abandoned_drafts(self.path, file_server_time(self.path))

    @contextmanager
    def lock(self, on_beat: Sequence[Callable[[], None]] = ()) -> Iterator[RunFolder | None]:
        """Claim the run for this process: the folder to write to, or None if another process, on
        any host, executes the run. See :mod:`ssmbench.runs.claim`.

        ``on_beat`` is called about every 10 seconds, in a thread.

        Raises:
            WriteError: the folder cannot be written.
        """
        with claimed(self.path, on_beat) as claim:
            yield None if claim is None else replace(self, claim=claim)
