"""A Slurm of three nodes on this machine, for tests: real daemons in a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Set where these tests must run: then what they need is not a reason to skip them.
REQUIRED = "SSMBENCH_REQUIRE_SLURM"
NODES = ("n1", "n2", "n3")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

_CONFIG = """
ClusterName=ssmbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=6
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=3
MessageTimeout=10
SlurmdTimeout=15
InactiveLimit=0
NodeName=DEFAULT CPUs=8 RealMemory=4000 State=UNKNOWN
{nodes}
PartitionName=main Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str:
    """Why no cluster can be started here; empty if one can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"Slurm is not installed (no {', '.join(missing)})"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started by root only"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Cluster:
    """A running cluster; its commands find it through ``environment``."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Set these variables for Slurm's commands. Ranks meet on this machine by its address,
        since the names of the nodes are known to nobody else."""
        config = str(self.folder / "slurm.conf")
        return {"SLURM_CONF": config, "PATH": _path(), "MASTER_ADDR": "127.0.0.1"}

    def ask(self, *command: str) -> str:
        """The output of a command of Slurm."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The last lines of the daemons' logs."""
        files = sorted((self.folder / "log").iterdir())
        return "\n".join(f"{file.name}:\n{file.read_text()[-2000:]}" for file in files)

    def idle(self) -> int:
        """The number of nodes that can be used."""
        states = self.ask("sinfo", "--noheader", "--Node", "--format=%T").split()
        return sum(state in ("idle", "mixed", "allocated") for state in states)

    def kill_node(self, node: str) -> None:
        """Let a node go as when its power fails: its daemon and what runs on it are killed."""
        pid = int((self.folder / f"slurmd.{node}.pid").read_text())
        _kill([pid, *_steps(f"{self.folder}/log/slurmd.{node} ")])
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")


def _steps(mark: str) -> list[int]:
    """The processes of the steps of jobs whose log's name contains ``mark``, theirs included."""
    steps = [pid for pid, text in _processes() if text.startswith("slurmstepd") and mark in text]
    return [process for step in steps for process in [step, *_below(step)]]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes() -> list[tuple[int, str]]:
    """The processes of this machine with their open files' and arguments' names, in one text."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):
                found.append((int(place.name), _description(place)))
    return found


def _description(place: Path) -> str:
    text = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if not text.startswith("slurmstepd"):
        return text
    files = []
    for file in (place / "fd").iterdir():
        with suppress(OSError):
            files.append(os.readlink(file))
    return " ".join([text, *files, ""])


def _below(pid: int) -> list[int]:
    """The processes that a process has started, directly or not."""
    parents = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError, IndexError):
                parents[int(place.name)] = int(
                    (place / "stat").read_text().rsplit(")", 1)[1].split()[1]
                )
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def wait_until(happens: Callable[[], object], what: str, seconds: float = 240.0) -> None:
    """Wait for an event; fails if it does not come."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"waited {seconds:g} s: {what}"
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster, and stop all of it at the end, also after a failure."""
    with tempfile.TemporaryDirectory(prefix="slurm.", ignore_cleanup_errors=True) as place:
        folder = Path(place)  # with a short name: those of sockets are limited
        started = Cluster(folder)
        try:
            _write_config(folder)
            _start(started)
            yield started
        finally:
            _stop(started)


def _write_config(folder: Path) -> None:
    for name in ("munge", "state", "log", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)
    host, ports = socket.gethostname().split(".")[0], _free_ports(4)
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
        for name, port in zip(NODES, ports[1:], strict=True)
    )
    text = _CONFIG.format(host=host, ports=ports, folder=folder, nodes=nodes)
    (folder / "slurm.conf").write_text(text)


def _start(started: Cluster) -> None:
    folder, environment = started.folder, os.environ | started.environment
    munge = folder / "munge"
    munged = ["munged", "--force", f"--key-file={folder}/munge.key", f"--socket={munge}/socket"]
    munged += [f"--pid-file={munge}/pid", f"--log-file={folder}/log/munged"]
    munged += [f"--seed-file={munge}/seed"]
    for command in (munged, ["slurmctld"], *(["slurmd", "-N", node] for node in NODES)):
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    wait_until(lambda: started.idle() == len(NODES), f"nodes start: {started.logs()}", 60)


def _stop(started: Cluster) -> None:
    environment = os.environ | started.environment
    for command in (["scancel", "--user=root"], ["scontrol", "shutdown"]):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    _kill(_steps(str(started.folder)))
    files = [started.folder / "slurmctld.pid", *started.folder.glob("slurmd.*.pid")]
    pids = {file: int(file.read_text()) for file in files if file.exists()}
    end = time.monotonic() + 10
    while any(file.exists() for file in files) and time.monotonic() < end:
        time.sleep(0.1)
    _kill([pid for file, pid in pids.items() if file.exists()])
    with suppress(OSError, ValueError):
        os.kill(int((started.folder / "munge" / "pid").read_text()), signal.SIGTERM)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster for all tests of a process."""
    reason = why_not()
    if reason and not os.environ.get(REQUIRED):
        pytest.skip(reason)
    assert not reason, f"{REQUIRED} is set, but {reason}"
    with cluster() as started:
        yield started
