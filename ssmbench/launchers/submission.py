"""Submit runs to Slurm in arrays of jobs, and read what a job has left behind."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ssmbench.errors import SsmbenchError, last_line, require
from ssmbench.launchers.slurm_job import Job
from ssmbench.options import COUNT, POSITIVE, POSITIVE_COUNT, Allowed, metadata, option
from ssmbench.runs.run import Run

T = TypeVar("T")

#: Slurm's own limit is 1001 unless a cluster sets another one.
_LARGEST_ARRAY = 1000
_LIMIT = re.compile(r"(?:(?P<d>\d+)-)?(?P<first>\d+)(?::(?P<second>[0-5]\d))?")


def minutes(text: str) -> int | None:
    """The minutes of a time limit, ``90``, ``1:30``, ``1-12`` or ``1-12:30``; None if it is no
    such text, or zero."""
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        return None
    days, first, second = (int(found[name] or 0) for name in ("d", "first", "second"))
    has_hours = found["d"] is not None or found["second"] is not None
    return days * 1440 + (first * 60 + second if has_hours else first) or None


_TIME = Allowed("minutes, or h:mm, d-hh or d-hh:mm", lambda value: minutes(value) is not None)


@dataclass
class Config:
    """What to ask Slurm for; null and empty leave it to the cluster.

    ``partition``, ``account``, ``qos``, ``constraint``, ``mem``, ``gpus_per_node``,
    ``cpus_per_task``: as in ``sbatch``. ``time``: the limit of a job, in minutes or as h:mm.
    ``runs_per_job``: runs that one job executes side by side (packing). ``array_parallelism``: jobs
    that run at once. ``signal_delay``: seconds before the limit at which runs write a checkpoint
    and the job is queued again, at most ``max_requeues`` times. ``setup``: lines of the job's shell
    script; ``additional``: further options of ``sbatch`` by name; ``srun_args``: of ``srun``.
    ``wait``: stay until the runs have ended, and look every ``poll`` seconds; otherwise return at
    once, and let the next call of the suite collect.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = option("60", _TIME)
    mem: str | None = None
    gpus_per_node: int | None = option(None, POSITIVE_COUNT)
    cpus_per_task: int = option(1, POSITIVE_COUNT)
    runs_per_job: int = option(1, POSITIVE_COUNT)
    array_parallelism: int = option(256, POSITIVE_COUNT)
    signal_delay: int = option(90, POSITIVE_COUNT)
    max_requeues: int = option(20, COUNT)
    setup: list[str] = field(default_factory=list, metadata=metadata())
    additional: dict[str, Any] = field(default_factory=dict, metadata=metadata())
    srun_args: list[str] = field(default_factory=list, metadata=metadata())
    wait: bool = True
    poll: float = option(15.0, POSITIVE)


class Shape(NamedTuple):
    """Nodes of a job, and tasks on each: one for every rank."""

    nodes: int
    tasks: int


def check_shapes(runs: Sequence[Run], config: Config) -> None:
    """Raise a UsageError unless each run says how many processes it needs."""
    for run in runs:
        shape_of(run, config)


def shape_of(run: Run, config: Config) -> Shape:
    """The nodes and tasks of a run; ``devices: auto`` are the GPUs of a node, or one process.

    Raises:
        UsageError: ``trainer.devices`` is no number, or more than the GPUs of a node.
    """
    trainer = run.config["trainer"]
    nodes, devices = int(trainer.get("num_nodes", 1)), str(trainer.get("devices", "auto"))
    gpus = config.gpus_per_node
    if devices in ("auto", "-1"):
        return Shape(nodes, gpus or 1)
    require(
        devices.isdecimal(),
        f"{run.label}: trainer.devices={devices}: with launcher slurm, give the number per node",
    )
    require(
        gpus is None or int(devices) <= gpus,
        f"{run.label}: trainer.devices={devices}, but the launcher's gpus_per_node is {gpus}",
    )
    return Shape(nodes, int(devices))


def queue(runs: Sequence[Run], config: Config, folder: Path, jobs: int | None = None) -> None:
    """Submit runs, and record in the folder of each that it waits, and in which job.

    A run of several processes has a job of its own; others share one, ``runs_per_job`` at a time.
    ``jobs``: the number of runs in parallel; None for that of ``config``.

    Raises:
        SsmbenchError: Slurm refused the jobs; the message is its own.
    """
    by_shape: dict[Shape, list[Run]] = defaultdict(list)
    for run in runs:
        by_shape[shape_of(run, config)].append(run)
    for shape, alike in by_shape.items():
        size = 1 if shape != (1, 1) else config.runs_per_job
        groups = [Job(tuple(group), config.max_requeues) for group in _parts(alike, size)]
        parallel = -(-jobs // size) if jobs else config.array_parallelism
        for part in _parts(groups, _LARGEST_ARRAY):
            _submit(part, parameters(config, shape, parallel), folder)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _submit(jobs: Sequence[Job], options: Mapping[str, Any], folder: Path) -> None:
    import submitit

    for run in (run for job in jobs for run in job.runs):
        run.create()
    try:
        executor = submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(**options)
        submitted = executor.map_array(Job.execute, jobs)
    except (RuntimeError, ValueError, OSError) as error:  # submitit's own derive from these
        raise SsmbenchError(f"launcher slurm: {last_line(error)}") from None
    for job, handle in zip(jobs, submitted, strict=True):
        for run in job.runs:
            run.folder.write_status("queued", job=handle.job_id)


def parameters(config: Config, shape: Shape, parallel: int) -> dict[str, Any]:
    """The parameters of submitit for jobs of a shape, ``parallel`` of which run at once."""
    srun = ["--kill-on-bad-exit=1", f"--cpus-per-task={config.cpus_per_task}", *config.srun_args]
    by_itself = {} if "no-requeue" in config.additional else {"requeue": True}
    given: dict[str, Any] = {
        "job_name": "ssmbench",
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "mem": config.mem,
        "time": minutes(config.time),
        "nodes": shape.nodes,
        "ntasks_per_node": shape.tasks,
        "cpus_per_task": config.cpus_per_task,
        "gpus_per_node": config.gpus_per_node and _gpus(config.gpus_per_node, shape),
        "array_parallelism": parallel,
        "signal_delay_s": config.signal_delay,
        "setup": list(config.setup) or None,
        "additional_parameters": by_itself | dict(config.additional),
        "srun_args": srun,
    }
    return {name: value for name, value in given.items() if value is not None}


def _gpus(available: int, shape: Shape) -> int:
    """One for each rank; runs that share a job share all GPUs of the node."""
    return available if shape == (1, 1) else shape.tasks


def tail_of_log(folder: Path, job: str) -> str:
    """The last line that a job has written to its standard error; empty if there is none."""
    for file in sorted(folder.glob(f"{job}_*_log.err")) if job else ():
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1]
    return ""
