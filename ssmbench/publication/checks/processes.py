"""Each check in a process of its own, with limits of time and memory.

The processes are forked from one that has torch imported. They work in an empty folder, so that no
file beside the published ones is imported, and see a few variables of the environment only.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ssmbench import jsonio, registry
from ssmbench.publication.checks.one import Job, check_one, from_text
from ssmbench.publication.checks.verdict import Findings
from ssmbench.publication.layout import PLUGINS
from ssmbench.tasks.data import DATA_VARIABLE

#: Bytes of memory that a check may take beyond what its process has at the start.
MEMORY = 8 * 2**30
#: Variables that a check sees, in which no secret is.
_SEEN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
_SEEN_TOO = ("OMP_", "MKL_", "SSMBENCH_CACHE", "XDG_CACHE")
#: Names of modules are not looked up in the working folder where this is set.
_SAFE_PATH = "PYTHONSAFEPATH"


@dataclass(frozen=True)
class Limits:
    """``seconds``: for one run; ``jobs``: runs that are checked at once; ``run_plugins``: whether
    the submitted plugins are executed."""

    seconds: float
    jobs: int = 1
    run_plugins: bool = False


def check_apart(jobs: Sequence[Job], limits: Limits) -> Iterator[tuple[Job, Findings]]:
    """The findings of each run, as they come."""
    with tempfile.TemporaryDirectory() as empty, _server() as context:
        waiting, busy = list(jobs), []
        try:
            while waiting or busy:
                while waiting and len(busy) < limits.jobs:
                    busy.append(_Check(waiting.pop(0), limits, Path(empty), context))
                left = max(0.0, min(check.deadline for check in busy) - time.monotonic())
                wait([check.answer for check in busy], timeout=left)
                for check in [check for check in busy if check.has_ended()]:
                    busy.remove(check)
                    yield check.job, check.findings()
        finally:
            for check in busy:
                check.end()


@contextmanager
def _server() -> Iterator[Any]:
    """The server from which processes are forked."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [f"{__package__}.{name}" for name in ("processes", "network", "gains", "scores")]
        )
        yield context
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]


class _Check:
    """A process that checks one run."""

    def __init__(self, job: Job, limits: Limits, empty: Path, context: Any):
        self.job, self.limits = job, limits
        self._folder = Path(tempfile.mkdtemp(dir=empty))
        self.answer: Connection
        self.answer, answer = context.Pipe(duplex=False)
        environment = _environment(job, limits, self._folder)
        text = jsonio.dumps(job.to_dict())
        self._process = context.Process(
            target=_work, args=(text, str(self._folder), environment, answer)
        )
        self._process.start()
        answer.close()
        self.deadline = time.monotonic() + limits.seconds
        self._said: bytes | None = None

    def has_ended(self) -> bool:
        if self.answer.poll():
            with suppress(EOFError, OSError):
                self._said = self.answer.recv_bytes(2**20)
            return True
        return time.monotonic() >= self.deadline

    def findings(self) -> Findings:
        late = self._said is None and time.monotonic() >= self.deadline
        code = self.end()
        if self._said is not None:
            return from_text(self._said.decode(errors="replace"))
        if late:
            reason = f"not checked within {self.limits.seconds:g} s"
            return Findings(rejected=(reason,), failed=True)
        return Findings(rejected=(f"cannot be checked: {_why(code)}",), failed=True)

    def end(self) -> int:
        """Kill the process with those that it has started; its exit code."""
        if self._said is None:
            self._process.join(timeout=0 if time.monotonic() >= self.deadline else 1)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.answer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._process.exitcode or 0


def _why(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name} (memory?)"
    return f"its process ended with exit code {code}"


def _environment(job: Job, limits: Limits, folder: Path) -> dict[str, str]:
    """What the process sees; its plugins are this process's own, or those of the submission."""
    seen = {k: v for k, v in os.environ.items() if k in _SEEN or k.startswith(_SEEN_TOO)}
    if job.with_data and DATA_VARIABLE in os.environ:
        seen[DATA_VARIABLE] = os.environ[DATA_VARIABLE]
    files = _submitted(job, folder) if limits.run_plugins else registry.plugin_files()
    return seen | {registry.PLUGINS_VARIABLE: os.pathsep.join(map(str, files))}


def _submitted(job: Job, folder: Path) -> list[Path]:
    """Copies of the submitted plugins of a run, one of each source."""
    found = {}
    for source in job.entry.plugins:
        place = Path(job.root) / PLUGINS / source.digest / Path(source.file).name
        if source.file and place.is_file() and not place.is_symlink():
            target = folder / source.digest / place.name
            target.parent.mkdir(exist_ok=True)
            found[target] = shutil.copyfile(place, target)
    return list(found)


def _work(text: str, folder: str, environment: Mapping[str, str], answer: Connection) -> None:
    """Check a run in this process, a fork of the server's."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    _limit_memory()
    import torch

    torch.set_num_threads(1)
    found = check_one(Job.from_dict(jsonio.loads(text), "job"))
    answer.send_bytes(jsonio.dumps(found.to_dict()).encode())
    answer.close()


def _limit_memory() -> None:
    """Leave the process :data:`MEMORY` beyond what it has, where the system can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = has + MEMORY
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
