"""Who executes a run: one process of all those, on any host, that can reach its folder.

Two means, because neither is enough:

* **The kernel's lock** (``flock``) on the file ``lock``. It is free as soon as its process has
  ended, however that was. It holds between processes of one kernel. On a network file system it
  may hold between hosts, or on each host alone, or be refused.
* **A claim**, ``claim-N.json``, which names the holder, and which a thread of the holder touches
  every 10 seconds. Another kernel may take the run over when it was not touched for 60 seconds.
  Claim and present time are compared by the clock of the file server, which sets both.

The newest claim counts. A process that finds it free creates the next one; creation is exclusive,
so that one process wins. It then makes sure that the claim before has not been touched meanwhile,
and withdraws if it has. A number is not used again while a process may still believe that it is
free: the newest claim is kept, with the time 0, when it is given back.

A holder may be suspended, or lose the file server for a while. Until 45 seconds after its last
heartbeat nobody can have taken the run over. After that it touches its claim, and looks for a newer
one, before it writes anything (:meth:`Claim.check`); if there is one, it stops without writing.
What remains is a process that is suspended between that check and the write right after it.

Leases with a file server as the clock are those of Gray and Cheriton, "Leases: an efficient
fault-tolerant mechanism for distributed file cache consistency", SOSP 1989.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ssmbench.errors import ClaimLostError
from ssmbench.runs import claim_files
from ssmbench.runs.claim_files import ClaimFiles, Found, Holder, Lock
from ssmbench.runs.place import boot_id, place

LOCK_FILE = "lock"
#: Seconds between heartbeats; those for which a claim surely holds after one; those after which
#: another kernel may take it over.
HEARTBEAT, LEASE, STALE = 10.0, 45.0, 60.0
#: Seconds for which readers rely on a measured difference of clocks.
_CLOCK_AGE = 60.0


def _clock() -> float:
    """Seconds, also those for which the machine was suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Claim:
    """The claim that this process holds on a run.

    ``before`` is the claim of the process that executed the run last, if it did not give it back.
    """

    def __init__(self, files: ClaimFiles, number: int, renewed: float, before: Found | None):
        self.before, self.lost = before, False
        self._files, self._number, self._renewed = files, number, renewed
        self._one_at_a_time = threading.Lock()

    def check(self) -> None:
        """Nothing, if this process still holds the run; costs nothing between heartbeats.

        To be called before anything is written, and regularly in training.

        Raises:
            ClaimLostError: another process has taken the run over, or may have.
        """
        lapsed = _clock() - self._renewed > LEASE
        if self.lost or (lapsed and not self.renew()):
            raise ClaimLostError(
                f"{self._files.folder}: {self._why_lost()}; nothing more is written"
            )

    def renew(self) -> bool:
        """Touch the claim; False if it is lost, or if the file server does not answer."""
        with self._one_at_a_time:
            if self.lost:
                return False
            now = _clock()
            try:
                self.lost = not self._is_newest(lapsed=now - self._renewed > LEASE)
            except OSError:
                return False
            if not self.lost:
                self._renewed = now
            return not self.lost

    def _is_newest(self, lapsed: bool) -> bool:
        if not self._files.touch(self._number):
            return False
        if lapsed:
            self._files.now()  # so that NFS lists the folder as it is
        return self._files.newest() == self._number

    def _why_lost(self) -> str:
        if not self.lost:
            return f"its claim could not be renewed for {LEASE:g} s"
        found = None
        with suppress(OSError):
            found = self._files.read(self._files.newest())
        return f"{found.holder} has taken it over" if found else "its claim was deleted"

    def release(self) -> None:
        if not self.lost:
            with suppress(OSError):
                self._files.release(self._number)


@contextmanager
def claimed(folder: Path, on_beat: Sequence[Callable[[], None]] = ()) -> Iterator[Claim | None]:
    """Claim a run for this process; None if another process executes it.

    ``on_beat`` is called after each heartbeat, in a thread.

    Raises:
        WriteError: the folder cannot be written.
    """
    state, descriptor = claim_files.lock(folder / LOCK_FILE)
    try:
        claim = take(ClaimFiles(folder), state)
        if claim is None:
            yield None
        else:
            with _beating(claim, on_beat):
                yield claim
    finally:
        claim_files.unlock(descriptor)


def take(files: ClaimFiles, state: Lock) -> Claim | None:
    """Create the next claim if the newest one is free; None if another process holds the run.

    There is a second attempt, because NFS may have listed the folder as it was a minute ago.
    """
    claim = _attempt(files, state)
    if claim is None:
        files.now()  # creates a file, after which the folder is listed as it is
        claim = _attempt(files, state)
    return claim


def _attempt(files: ClaimFiles, state: Lock) -> Claim | None:
    started = _clock()
    newest = files.newest()
    before = files.read(newest)
    if not _is_free(files, newest, state):
        return None
    number = newest + 1
    claimant = Holder(**place(), started=round(time.time(), 3), locked=state is Lock.FREE)
    if not files.create(number, claimant):
        return None
    if files.newest() != number or not _is_free(files, newest, state):
        files.delete(number)
        return None
    files.delete_before(number)
    return Claim(files, number, started, None if before is None or before.released else before)


def _is_free(files: ClaimFiles, number: int, state: Lock) -> bool:
    """Whether a claim, the newest one, is over; number 0: there is none."""
    found = files.read(number) if number else None
    if found is None:  # one that was there has been replaced by a newer one
        return number == 0 and state is not Lock.TAKEN
    if found.released:
        return state is not Lock.TAKEN
    if found.holder.boot == boot_id() and found.holder.locked and state is not Lock.UNKNOWN:
        return state is Lock.FREE
    return files.now() - found.touched >= STALE


@contextmanager
def _beating(claim: Claim, on_beat: Sequence[Callable[[], None]]) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            claim.renew()
            for function in on_beat:
                function()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        claim.release()


def holder(folder: Path) -> Holder | None:
    """The process that executes a run; None if there is none. Nothing is claimed."""
    files = ClaimFiles(folder, _CLOCK_AGE)
    state = claim_files.probe(folder / LOCK_FILE)
    try:
        number = files.newest()
        if _is_free(files, number, state):
            return None
        found = files.read(number)
    except OSError:
        return None
    return found.holder if found and not found.released else Holder()
