"""What became of runs, and what they were computed with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A run without a score. ``outcome``: diverged, failed, missing, ...; ``reason``: one line, ""
    where none is known. ``source`` as in :class:`~ssmbench.report.collect.RunRecord`."""

    task: str
    variant: str
    discretizer: str
    seed: int
    outcome: str
    reason: str
    fingerprint: str
    source: str


@dataclass(frozen=True)
class FactValue:
    """One value of a :class:`Fact`, and how many runs have it."""

    value: str
    runs: int


@dataclass(frozen=True)
class Fact:
    """What the complete runs of a task were computed with, for example their host; the most
    frequent value first."""

    name: str
    values: tuple[FactValue, ...]

    @property
    def differs(self) -> bool:
        return len(self.values) > 1


@dataclass(frozen=True)
class TaskHistory:
    """Of the complete runs of one task: ``seconds`` of wall time and ``sittings``, in total;
    ``resumed`` of the runs had more than one sitting. ``differences``: a sentence for each fact in
    which the runs of this table differ."""

    runs: int
    seconds: float
    sittings: int
    resumed: int
    facts: tuple[Fact, ...]
    differences: tuple[str, ...]
