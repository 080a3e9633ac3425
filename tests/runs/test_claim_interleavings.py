"""Three hosts contend for one run in every order of their accesses to the file server.

The claims are real; files and clock are simulated, so that hypothesis decides which host makes its
next access, and how much time passes: a host that makes none is suspended. One kernel each, without
locks: the case in which nothing but the claims decides.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ssmbench.errors import ClaimLostError
from ssmbench.runs import claim
from ssmbench.runs.claim_files import Found, Holder, Lock

HOSTS = 3


@dataclass
class Server:
    """The files of a run's folder, which a dead node has left, and the time."""

    clock: float = 1000.0
    files: dict[int, Found] = field(default_factory=lambda: {1: Found(Holder("dead"), 900.0)})
    taken: list[tuple[float, int, int]] = field(default_factory=list)
    writes: int = 0


class Stopped(BaseException):
    """The end of the test."""


class Host(threading.Thread):
    """Claims the run again and again; writes while it holds it. One access for each turn."""

    def __init__(self, number: int, server: Server):
        super().__init__(daemon=True)
        self.number, self.server = number, server
        self.turn, self.idle = threading.Semaphore(0), threading.Semaphore(0)
        self.stopping, self.error = False, None

    def give_turn(self) -> None:
        self.turn.release()
        self.idle.acquire()

    def wait(self) -> None:
        """Before each access: until it is this host's turn."""
        self.idle.release()
        self.turn.acquire()
        if self.stopping:
            raise Stopped

    def run(self) -> None:
        self.turn.acquire()
        try:
            while True:
                self.wait()
                self.execute()
        except Stopped:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.idle.release()

    def execute(self) -> None:
        files = Files(self)
        mine = claim.take(files, Lock.UNKNOWN)
        if mine is None:
            return
        number = mine._number
        self.server.taken.append((self.server.clock, self.number, number))
        for beat in range(6):
            self.wait()
            try:
                mine.check()
            except ClaimLostError:
                return
            newest = max(number for _, _, number in self.server.taken)
            assert number == newest, "it wrote, although another host had taken the run over"
            self.server.writes += 1
            if beat % 2:
                mine.renew()
        mine.release()


class Files:
    """:class:`ssmbench.runs.claim_files.ClaimFiles` on the simulated server."""

    folder = "run"

    def __init__(self, host: Host):
        self._host, self._server = host, host.server

    def newest(self) -> int:
        self._host.wait()
        return max(self._server.files, default=0)

    def read(self, number):
        self._host.wait()
        return self._server.files.get(number)

    def create(self, number, holder) -> bool:
        self._host.wait()
        if number in self._server.files:
            return False
        self._server.files[number] = Found(holder, self._server.clock)
        return True

    def touch(self, number) -> bool:
        return self._set(number, lambda: self._server.clock)

    def release(self, number) -> None:
        self._set(number, lambda: 0.0)

    def _set(self, number, when) -> bool:
        self._host.wait()
        if number not in self._server.files:
            return False
        self._server.files[number] = Found(self._server.files[number].holder, when())
        return True

    def delete(self, number) -> None:
        self._host.wait()
        self._server.files.pop(number, None)

    def delete_before(self, number) -> None:
        for other in sorted((n for n in self._server.files if n < number), reverse=True):
            self.delete(other)

    def now(self) -> float:
        self._host.wait()
        return self._server.clock


#: Which host makes how many accesses, and the seconds that pass after them.
steps = st.tuples(
    st.integers(0, HOSTS - 1),
    st.sampled_from([1, 1, 2, 3, 4, 6, 12]),
    st.sampled_from([0, 0, 0, 0, 0, 14, 46, 61]),
)


def simulate(schedule) -> Server:
    server = Server()
    hosts = [Host(number, server) for number in range(HOSTS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim, "_clock", lambda: server.clock)
        patch.setattr(claim, "boot_id", lambda: threading.current_thread().name)
        patch.setattr(claim, "place", lambda: {"boot": threading.current_thread().name})
        for host in hosts:
            host.start()
        for host in hosts:
            host.give_turn()
        for number, accesses, seconds in schedule:
            for _ in range(accesses):
                if hosts[number].is_alive() and hosts[number].error is None:
                    hosts[number].give_turn()
            server.clock += seconds
        for host in hosts:
            host.stopping = True
            host.turn.release()
            host.join()
    for host in hosts:
        if host.error is not None:
            raise host.error
    return server


#: The holder wakes and renews its claim after another host has found it to be stale. Without its
#: second look that host would take the run while the holder relies on the renewal.
WAKES = [
    *((2, 6, 0), (0, 4, 0), (1, 4, 46), (1, 1, 14), (0, 2, 0), (1, 1, 0), (1, 6, 46), (1, 3, 0)),
    *((1, 8, 14), (1, 1, 0), (0, 7, 0), (1, 4, 0), (0, 1, 0)),
]


@example(WAKES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=10, max_size=60))
def test_no_host_writes_after_another_one_has_taken_the_run(schedule):
    simulate(schedule)


def test_the_simulation_has_runs_that_are_taken_over():
    """A host takes the run, is suspended for a minute, and another one goes on with it."""
    server = simulate([(0, 12, 61), (1, 12, 0), (0, 12, 0), (1, 12, 0)])
    assert [host for _, host, _ in server.taken] == [0, 1]
    assert server.writes > 2
