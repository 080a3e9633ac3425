"""The files that say who executes a run: ``lock`` and ``claim-N.json``; see :mod:`.claim`."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import WriteError
from ssmbench.runs.place import boot_id

_NAME = re.compile(r"claim-(\d+)\.json")
_GONE = (errno.ENOENT, errno.ESTALE)
_HOLDER = {"host": str, "boot": str, "pid": int, "started": (int, float), "locked": bool}


@dataclass(frozen=True)
class Holder:
    """A process that executes a run; ``started`` is the Unix time of its claim, and ``locked``
    whether it has the kernel's lock as well. All are empty if it wrote no claim that can be read.
    """

    host: str = ""
    boot: str = ""
    pid: int = 0
    started: float = 0.0
    locked: bool = False
    job: str | None = None

    @property
    def where(self) -> str:
        """Host, process, job and time of the claim, for messages; empty if they are not known."""
        if not self.host:
            return ""
        since = datetime.fromtimestamp(self.started).isoformat(" ", "seconds")
        job = f", job {self.job}" if self.job else ""
        return f"{self.host}, pid {self.pid}{job}, since {since}"

    @property
    def may_write(self) -> bool:
        """Whether it is another process than this one, and not known to be dead."""
        return self.boot != boot_id() or (self.pid != os.getpid() and _exists(self.pid))

    def __str__(self) -> str:
        return f"another process ({self.where})" if self.host else "another process"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def is_claim_file(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Found:
    """A claim that was read; ``touched`` is the time of its last heartbeat, by the clock of the
    file server, and 0 once the holder has given it back."""

    holder: Holder
    touched: float

    @property
    def released(self) -> bool:
        return self.touched == 0


class Lock(Enum):
    """What the kernel says of a run's lock; ``UNKNOWN``: this file system has none."""

    FREE = auto()
    TAKEN = auto()
    UNKNOWN = auto()


class ClaimFiles:
    """The claims in a run's folder, ``claim-1.json`` and so on; the newest one counts.

    ``clock_age``: see :func:`file_server_time`; 0 for those who claim.
    """

    def __init__(self, folder: Path, clock_age: float = 0.0):
        self.folder, self._clock_age = folder, clock_age

    def newest(self) -> int:
        """The largest number of a claim; 0 if there is none."""
        matches = map(_NAME.fullmatch, os.listdir(self.folder))
        return max((int(match[1]) for match in matches if match), default=0)

    def read(self, number: int) -> Found | None:
        """A claim; None if it is gone.

        The file is opened because that makes NFS fetch its present times (close-to-open
        consistency); those that ``stat`` gives may be a minute old.
        """
        try:
            with self._file(number).open("rb") as file:
                touched, text = os.fstat(file.fileno()).st_mtime, file.read()
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        return Found(_holder(text), touched)

    def create(self, number: int, holder: Holder) -> bool:
        """Create a claim; False if it exists. Only one process of all succeeds.

        Raises:
            WriteError: it cannot be written, for example because the disk is full.
        """
        file = self._file(number)
        try:
            with file.open("xb") as stream:  # O_EXCL is atomic on NFS, too
                try:
                    stream.write(jsonio.dumps(asdict(holder)).encode())
                    stream.flush()
                except BaseException:
                    file.unlink(missing_ok=True)
                    raise
        except FileExistsError:
            return False
        except OSError as error:
            raise WriteError.of(file, error) from None
        return True

    def touch(self, number: int) -> bool:
        """Renew a claim: its time becomes that of the file server; False if it is gone."""
        return self._set_times(number, None)

    def release(self, number: int) -> None:
        """Give a claim back: its time becomes 0, which a full disk does not prevent."""
        self._set_times(number, (0, 0))

    def _set_times(self, number: int, times: tuple[float, float] | None) -> bool:
        try:
            os.utime(self._file(number), times)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        return True

    def delete(self, number: int) -> None:
        self._file(number).unlink(missing_ok=True)

    def delete_before(self, number: int) -> None:
        """Delete the claims that came before one."""
        for name in os.listdir(self.folder):
            match = _NAME.fullmatch(name)
            if match and int(match[1]) < number:
                (self.folder / name).unlink(missing_ok=True)

    def now(self) -> float:
        """The time by the clock of the file server, which sets the times of files.

        A file is created and deleted for it. After that, NFS lists the folder as it is now.
        """
        return file_server_time(self.folder, self._clock_age)

    def _file(self, number: int) -> Path:
        return self.folder / f"claim-{number}.json"


def _holder(text: bytes) -> Holder:
    """What a claim says; an empty holder if it is damaged, or not yet written."""
    try:
        content: Any = jsonio.loads(text.decode())
    except ValueError:
        return Holder()
    if not jsonio.has_shape(content, _HOLDER):
        return Holder()
    job = content.get("job")
    known = {key: content[key] for key in _HOLDER}
    return Holder(**known, job=job if isinstance(job, str) else None)


_offsets: dict[int, tuple[float, float]] = {}


def file_server_time(folder: Path, max_age: float = 0.0) -> float:
    """The time by the clock that sets the times of files in ``folder``.

    The difference to the clock of this host is measured anew if the last measurement on this file
    system is older than ``max_age`` seconds, and taken as 0 where no file can be created.
    """
    device = folder.stat().st_dev
    measured, offset = _offsets.get(device, (float("-inf"), 0.0))
    if time.monotonic() - measured >= max_age:
        offset = _measured_offset(folder)
        _offsets[device] = time.monotonic(), offset
    return time.time() + offset


def _measured_offset(folder: Path) -> float:
    probe = folder / f".time.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with probe.open("xb") as file:
            theirs, ours = os.fstat(file.fileno()).st_mtime, time.time()
        probe.unlink()
    except OSError:  # a reader of a folder that it cannot write
        return 0.0
    return theirs - ours


# --- the kernel's lock --------------------------------------------------------------------------

_held: set[int] = set()


def lock(file: Path) -> tuple[Lock, int]:
    """Try to lock a file without waiting; the second value is for :func:`unlock`.

    Retried briefly, because :func:`probe` locks the file for a moment.

    Raises:
        WriteError: the file cannot be created.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError.of(file, error) from None
    _held.add(descriptor)
    for pause in (0.02, 0.05, 0.1, None):
        state = _flock(descriptor, fcntl.LOCK_EX)
        if state is not Lock.TAKEN or pause is None:
            break
        time.sleep(pause)
    return state, descriptor


def unlock(descriptor: int) -> None:
    """Give a lock back. The kernel does so when the process ends, however it ends."""
    if descriptor in _held:  # not in a forked process
        _held.remove(descriptor)
        os.close(descriptor)


def probe(file: Path) -> Lock:
    """Whether a process holds the lock of a file."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return Lock.FREE
    except OSError:
        return Lock.UNKNOWN
    try:
        return _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> Lock:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.TAKEN
    except OSError:  # ENOLCK, ENOSYS, EOPNOTSUPP: some network file systems have no locks
        return Lock.UNKNOWN
    return Lock.FREE


def _leave_locks_to_parent() -> None:
    """A forked process, such as one that loads data, must not hold the lock of a parent that was
    killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_leave_locks_to_parent)
