"""The sittings of a run, in ``sittings.jsonl``: one line when a process starts to execute it, and
one when that ends, which replaces the first."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ssmbench import jsonio
from ssmbench.errors import ClaimLostError, WriteError
from ssmbench.results import Provenance, ResultError, Sitting
from ssmbench.runs.commits import commit_of, commit_of_ssmbench
from ssmbench.runs.consumption import (
    EnergyMeter,
    peak_gpu_memory,
    peak_memory,
    restart_peak_memory,
)
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.place import place

SITTINGS_FILE = "sittings.jsonl"
KILLED = "its process ended"


def read_sittings(folder: Path) -> list[Sitting]:
    """The sittings of a run, the present one included. Damaged lines are left out."""
    found: dict[tuple[float, str, int], Sitting] = {}
    for line in jsonio.read_lines(folder / SITTINGS_FILE):
        with suppress(ResultError):
            sitting = Sitting.from_dict(line)
            found[sitting.started, sitting.host, sitting.pid] = sitting
    return list(found.values())


class OpenSitting:
    """The sitting of this process on a run that it has claimed; ``meter`` measures its energy.

    Raises:
        WriteError: it cannot be recorded.
    """

    def __init__(self, folder: RunFolder, meter: EnergyMeter):
        self.folder, self._meter = folder, meter
        restart_peak_memory()
        self._earlier = [self._ended(sitting) for sitting in read_sittings(folder.path)]
        here = place()
        self._start = Sitting(
            started=round(time.time(), 3),
            host=here["host"],
            pid=here["pid"],
            job=here.get("job"),
            commit=commit_of(Path.cwd()),
            ssmbench_commit=commit_of_ssmbench(),
        )
        folder.append(SITTINGS_FILE, self._start.to_dict())

    def _ended(self, sitting: Sitting) -> Sitting:
        """An earlier sitting; if its process was killed, that is recorded now.

        It ended at the last heartbeat of its claim.
        """
        if sitting.why:
            return sitting
        claim = self.folder.claim
        before = claim.before if claim else None
        same = before and (before.holder.host, before.holder.pid) == (sitting.host, sitting.pid)
        ended = max(sitting.started, round(before.touched, 3)) if before and same else None
        closed = replace(sitting, ended=ended, why=KILLED)
        self.folder.append(SITTINGS_FILE, closed.to_dict())
        return closed

    @property
    def started(self) -> float:
        """Unix time in seconds."""
        return self._start.started

    def provenance(self, why: str, steps: int) -> Provenance:
        """That of the run, if this sitting ends now."""
        return Provenance.of([*self._earlier, self._until_now(why, steps)])

    def end(self, why: str, steps: int | None = None) -> None:
        """Record the end of the sitting, if that can be written: the status says it as well."""
        with suppress(WriteError, ClaimLostError):
            self.folder.append(SITTINGS_FILE, self._until_now(why, steps).to_dict())

    def _until_now(self, why: str, steps: int | None) -> Sitting:
        energy, energy_of = self._meter.joules()
        return replace(
            self._start,
            ended=round(time.time(), 3),
            why=why,
            steps=_last_step(self.folder.path) if steps is None else steps,
            peak_memory=peak_memory(),
            peak_gpu_memory=peak_gpu_memory(),
            energy=energy,
            energy_of=energy_of,
        )


def _last_step(folder: Path) -> int | None:
    """The last step in a run's log."""
    from ssmbench.training.checkpoints import METRICS  # slow: imports torch and Lightning

    rows = jsonio.read_lines(folder / METRICS, tail=2**16)
    steps = [row["step"] for row in rows if jsonio.has_shape(row, {"step": int})]
    return max(steps, default=None)
