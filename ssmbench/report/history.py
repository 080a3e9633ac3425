"""What became of runs, and what they were computed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssmbench.report.collect import RunRecord
from ssmbench.results import Result
from ssmbench.runs.states import STATES


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


def failures(records: Iterable[RunRecord]) -> list[Failure]:
    """The runs that have no score, with what is known of the reason."""
    return [_failure(record) for record in records if _without_score(record)]


def _without_score(record: RunRecord) -> bool:
    return record.result is None or record.result.diverged


def _failure(record: RunRecord) -> Failure:
    state, _, told = record.state.partition(": ")
    lines = (record.reason or told).strip().splitlines()
    outcome = f"diverged at step {record.result.diverged_at}" if record.result else state
    return Failure(
        task=record.task,
        variant=record.variant,
        discretizer=record.discretizer,
        seed=record.seed,
        outcome=outcome,
        reason=lines[-1] if lines else _MEANINGS.get(state, ""),
        fingerprint=record.fingerprint,
        source=record.source,
    )


#: What to say of a state where the run itself has nothing to say.
_MEANINGS = {
    "diverged": "the loss became infinite or NaN",
    "missing": STATES["missing"],
    "queued": STATES["queued"],
    "running": "not over when the report was written",
}


def task_history(records: Iterable[RunRecord]) -> TaskHistory | None:
    """What the complete runs of one task were computed with; None if there are none."""
    results = [record.result for record in records if record.result]
    if not results:
        return None
    facts = _facts([_facts_of(result) for result in results])
    sittings = [len(r.provenance.sittings) if r.provenance else 1 for r in results]
    return TaskHistory(
        runs=len(results),
        seconds=sum(r.seconds or 0.0 for r in results),
        sittings=sum(sittings),
        resumed=sum(count > 1 for count in sittings),
        facts=facts,
        differences=tuple(_difference(fact) for fact in facts if fact.differs),
    )


def _facts_of(result: Result) -> dict[str, str]:
    """Every fact of one run by name; "not known" where it does not say."""
    where, about = result.environment, result.provenance
    known = {
        "data": result.task.data_digest,
        "device": where.device,
        "measured on": where.measured_on,
        "threads": str(where.threads),
        "host": about.host if about else "",
        "commit": (about.commit if about else "") or "",
        "commit of ssmbench": (about.ssmbench_commit if about else "") or "",
        "python": where.python,
        **{name: version or "" for name, version in (where.packages or {}).items()},
        **{f"plugin {p.name}": " ".join((p.version, p.digest)).strip() for p in where.plugins},
    }
    return {name: value or "not known" for name, value in known.items()}


def _facts(runs: Sequence[Mapping[str, str]]) -> tuple[Fact, ...]:
    names = dict.fromkeys(name for run in runs for name in run)
    counted = {name: Counter(run.get(name, "not loaded") for run in runs) for name in names}
    return tuple(
        Fact(name, tuple(FactValue(value, runs) for value, runs in counts.most_common()))
        for name, counts in counted.items()
        if set(counts) != {"not known"}
    )


def _difference(fact: Fact) -> str:
    values = ", ".join(f"{one.value} ({one.runs})" for one in fact.values)
    return f"{fact.name}: {values}"
