"""How many runs fit on this machine side by side, and what each of them gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ssmbench.errors import require
from ssmbench.options import POSITIVE, POSITIVE_COUNT, option

#: Small models do not benefit from more processes.
_MAX_JOBS = 8
_GIB = 2**30


@dataclass
class Config:
    """What a run gets; null leaves it to the others.

    ``jobs``: runs side by side; by default one for each core, but at most eight. ``cores_per_run``
    and ``memory_per_run`` (GiB) allow as many runs as the machine has of them.
    ``gpus_per_run``: each run has GPUs of its own; ``runs_per_gpu``: that many runs share each GPU
    (packing); with neither, the runs are spread over the GPUs, one GPU to a run. ``grace``: seconds
    that a run has to write a checkpoint after a signal, before its process is killed.
    """

    jobs: int | None = option(None, POSITIVE_COUNT)
    cores_per_run: int | None = option(None, POSITIVE_COUNT)
    memory_per_run: float | None = option(None, POSITIVE)
    gpus_per_run: int | None = option(None, POSITIVE_COUNT)
    runs_per_gpu: int | None = option(None, POSITIVE_COUNT)
    grace: float = option(60.0, POSITIVE)


@dataclass(frozen=True)
class Slot:
    """What one run may use: threads, and GPUs as in ``CUDA_VISIBLE_DEVICES`` (None: all)."""

    threads: int
    gpus: str | None = None


def slots(
    config: Config, runs: int, jobs: int | None = None, gpus: list[str] | None = None
) -> list[Slot]:
    """The places for ``runs`` runs, at least one; ``jobs`` is the number given on the command line.

    ``gpus``: the GPUs of this machine, None to look for them.

    Raises:
        UsageError: not a single run fits.
    """
    cores = available_cores()
    found = visible_gpus() if gpus is None else gpus
    limits = [_fitting(config, cores), _fitting_gpus(config, found), jobs or config.jobs]
    stated = [limit for limit in limits if limit is not None]
    number = max(1, min(*(stated or [default_jobs()]), runs))
    threads = config.cores_per_run or threads_each(number)
    return [Slot(threads, _gpus_of(place, found, config.gpus_per_run)) for place in range(number)]


def default_jobs() -> int:
    """One run for each core but at most eight."""
    return max(1, min(_MAX_JOBS, available_cores()))


def _fitting(config: Config, cores: int) -> int | None:
    """How many runs cores and memory allow; None if neither is given."""
    limits = []
    if config.cores_per_run is not None:
        need = config.cores_per_run
        require(need <= cores, f"launcher: cores_per_run={need}, but there are {cores} cores")
        limits.append(cores // need)
    if config.memory_per_run is not None:
        need, memory = config.memory_per_run, available_memory()
        text = f"launcher: memory_per_run={need:g}, but there are {memory:.1f} GiB of memory"
        require(need <= memory, text)
        limits += [int(memory // need), *([] if limits else [default_jobs()])]
    return min(limits, default=None)


def _fitting_gpus(config: Config, gpus: list[str]) -> int | None:
    each, shared = config.gpus_per_run, config.runs_per_gpu
    require(
        each is None or shared is None,
        "launcher: gpus_per_run and runs_per_gpu exclude each other: a run has GPUs of its own, or "
        "shares one",
    )
    if each is not None:
        require(each <= len(gpus), f"launcher: gpus_per_run={each}, but there are {len(gpus)} GPUs")
        return len(gpus) // each
    if shared is not None:
        require(bool(gpus), f"launcher: runs_per_gpu={shared}, but there is no GPU")
        return len(gpus) * shared
    return None


def _gpus_of(place: int, gpus: list[str], each: int | None) -> str | None:
    if not gpus:
        return None
    return ",".join(gpus[place * each : (place + 1) * each]) if each else gpus[place % len(gpus)]


def threads_each(runs: int) -> int:
    """The threads of each of ``runs`` runs side by side: an equal share of the physical cores,
    since two threads of one core get in each other's way, and at most ``OMP_NUM_THREADS``, as in a
    process that torch sets up by itself."""
    share = max(1, min(available_cores(), physical_cores()) // runs)
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


def available_cores() -> int:
    """The cores that this process may use, in a Slurm job those of its task."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = len(_places())
    return min(cores, int(granted)) if granted.isdecimal() and int(granted) else cores


def physical_cores(root: Path = Path("/sys/devices/system/cpu")) -> int:
    """The physical cores among those that this process may use, where the system tells them."""
    siblings = (root / f"cpu{place}/topology/thread_siblings_list" for place in _places())
    try:
        return len({file.read_text() for file in siblings})
    except OSError:
        return len(_places())


def _places() -> set[int]:
    """The numbers of the (logical) cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def available_memory() -> float:
    """The memory that this process may use, in GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(total, int(limit) if limit.isdecimal() else total) / _GIB


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs of this process, as ``CUDA_VISIBLE_DEVICES`` names them, without torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
        return [] if "-1" in names else names
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return _listed_gpus(done.stdout) if done.returncode == 0 else []


def _listed_gpus(listing: str) -> list[str]:
    """The names in the output of ``nvidia-smi -L``: of a GPU in MIG mode, those of its parts."""
    found: list[str] = []
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", listing):
        if name.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(name)
    return found
