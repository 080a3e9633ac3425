"""Where and when a result was computed, and what that took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmbench.results.record import Record


@dataclass(frozen=True)
class Sitting(Record):
    """One process that executed a run, from its start to its end.

    ``started`` and ``ended`` are Unix times in seconds; the end of a process that was killed is its
    last heartbeat, or None if that is not known. ``why`` it ended; ``steps``: the last one logged
    by then. ``job``: its Slurm job. ``commit``: that of the git repository which the process was
    started in, with ``-dirty`` where tracked files had been changed, and ``ssmbench_commit`` that
    of ssmbench, if it is a checkout; None where there is no repository.

    ``peak_memory`` and ``peak_gpu_memory`` (what PyTorch had allocated) are in bytes, of the
    process of rank 0. ``energy`` is in joules, of the devices in ``energy_of`` and of all that ran
    on them at the time; None: not measured.
    """

    started: float
    host: str
    pid: int
    ended: float | None = None
    job: str | None = None
    why: str = ""
    steps: int | None = None
    commit: str | None = None
    ssmbench_commit: str | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None
    energy: float | None = None
    energy_of: str = ""

    @property
    def seconds(self) -> float:
        return 0.0 if self.ended is None else max(0.0, self.ended - self.started)


@dataclass(frozen=True)
class Provenance(Record):
    """What is known of all sittings of a run. Host, job, commits and the reason of the end are
    those of the last one, the memory is the largest; the energy is the sum, None unless that of all
    sittings was measured on the same devices."""

    host: str
    job: str | None = None
    ended: str = ""
    commit: str | None = None
    ssmbench_commit: str | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None
    energy: float | None = None
    energy_of: str = ""
    sittings: tuple[Sitting, ...] = ()

    @classmethod
    def of(cls, sittings: Iterable[Sitting]) -> Provenance:
        """That of a run; there is at least one sitting."""
        all_of_them = tuple(sittings)
        last, energies = all_of_them[-1], [sitting.energy for sitting in all_of_them]
        measured = [energy for energy in energies if energy is not None]
        whole = len(measured) == len(energies) and len({s.energy_of for s in all_of_them}) == 1
        return cls(
            host=last.host,
            job=last.job,
            ended=last.why,
            commit=last.commit,
            ssmbench_commit=last.ssmbench_commit,
            peak_memory=_largest(sitting.peak_memory for sitting in all_of_them),
            peak_gpu_memory=_largest(sitting.peak_gpu_memory for sitting in all_of_them),
            energy=sum(measured) if whole else None,
            energy_of=last.energy_of if whole else "",
            sittings=all_of_them,
        )

    @property
    def seconds(self) -> float:
        """Wall time of all sittings."""
        return sum(sitting.seconds for sitting in self.sittings)


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
