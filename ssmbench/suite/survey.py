"""How far the runs of a suite are, read from its folder. Loads no torch."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.launchers.jobs import jobs_in_queue
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.estimates import Estimates, Kind, estimates, read_result
from ssmbench.suite.record import Recorded, read_suite, recorded_runs

#: Bytes at the end of metrics.jsonl in which the newest rows are looked for.
_TAIL = 16_384
_SCORE = re.compile(r"(?:val|test)/(?!loss$)[^/]+")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    ``done``: the share of its training, 1 if it is complete, None if it cannot be told; ``score``:
    the newest one, of the validation data unless the run is complete (and in a search);
    ``elapsed``: seconds of a complete run, or since a running one was started or resumed;
    ``left``: estimated seconds to its end, ``typical``: of a whole run of its kind, None if nothing
    is known.
    """

    label: str
    task: str
    variant: str
    discretizer: str
    seed: int
    state: str
    reason: str = ""
    step: int | None = None
    epoch: float | None = None
    done: float | None = None
    metric: str = ""
    score: float | None = None
    elapsed: float | None = None
    left: float | None = None
    typical: float | None = None
    host: str = ""
    job: str = ""

    @property
    def kind(self) -> Kind:
        """Task, variant and discretizer."""
        return self.task, self.variant, self.discretizer


@dataclass(frozen=True)
class Survey:
    """The runs of a suite at one moment."""

    name: str
    folder: Path
    runs: tuple[Progress, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state that occurs."""
        states = [run.state for run in self.runs]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    @property
    def is_complete(self) -> bool:
        """Whether every run has a result."""
        return all(run.state in COMPLETE for run in self.runs)

    @property
    def left(self) -> float | None:
        """Estimated seconds to the end of the suite, with as many runs at once as now, or one;
        None if nothing is known of some run."""
        pending = [run.left for run in self.runs if run.state not in COMPLETE]
        parallel = max(1, self.counts.get("running", 0))
        known = [left for left in pending if left is not None]
        return sum(known) / parallel if len(known) == len(pending) else None


def survey(root: Path) -> Survey:
    """The progress of every run of the suite in ``root``.

    Raises:
        UsageError: no suite was run there.
    """
    suite = read_suite(root)
    runs = progress_of(root, recorded_runs(root), str(suite.get("objective", "test")))
    return Survey(suite["name"], root, tuple(runs))


def progress_of(root: Path, runs: Sequence[Recorded], split: str = "test") -> list[Progress]:
    """How far each of the runs is whose folders are in that of a suite; complete ones with their
    scores on a split of the data."""
    states = {run.fingerprint: run.folder(root).state for run in runs}
    complete = [run for run in runs if states[run.fingerprint] in COMPLETE]
    results = {run.fingerprint: read_result(run.folder(root).path) for run in complete}
    known = estimates(root, ((_kind(run), results[run.fingerprint]) for run in complete))
    queue = jobs_in_queue() if "queued" in states.values() else None
    found = []
    for run in runs:
        state, result = states[run.fingerprint], results.get(run.fingerprint)
        if result is not None:
            found.append(_complete(run, state, result, known, split))
        else:
            found.append(_incomplete(run, state, root, known, queue))
    return found


def _kind(run: Recorded) -> Kind:
    return run.task, run.variant, run.discretizer


def _places(run: Recorded) -> dict[str, Any]:
    names = ("label", "task", "variant", "discretizer", "seed")
    return {name: getattr(run, name) for name in names}


def _complete(
    run: Recorded, state: str, result: Mapping[str, Any], known: Estimates, split: str
) -> Progress:
    scores, task = (result.get(key) or {} for key in ("scores", "task"))
    return Progress(
        **_places(run),
        state=state,
        step=result.get("steps"),
        done=1.0,
        metric=str(task.get("metric") or task.get("score") or ""),  # of schema 2
        score=scores.get(split),
        elapsed=result.get("seconds"),
        left=0.0,
        typical=known.seconds(_kind(run)),
    )


def _incomplete(
    run: Recorded, state: str, root: Path, known: Estimates, queue: set[str] | None
) -> Progress:
    folder = run.folder(root)
    typical = known.seconds(_kind(run))
    if state == "missing":
        return Progress(**_places(run), state=state, done=0.0, left=typical, typical=typical)
    status = folder.status
    row = _newest(folder.path / "metrics.jsonl")
    now = time.time()
    elapsed = max(0.0, now - float(status.get("updated", now))) if state == "running" else None
    done = None if state == "failed" else _share(folder.path, row, elapsed)
    reason = folder.reason if state != "running" else ""
    job = str(status.get("job") or "")
    if state == "queued" and queue is not None and job not in queue:
        reason = f"job {job} is no longer in the queue: run the suite again"
    return Progress(
        **_places(run),
        state=state,
        reason=reason,
        step=row.get("step"),
        epoch=row.get("epoch"),
        done=done,
        metric=row.get("metric", ""),
        score=row.get("score"),
        elapsed=elapsed,
        left=_left(typical, done, elapsed, resumed=bool(status.get("resumed"))),
        typical=typical,
        host=str(status.get("host") or ""),
        job=job,
    )


def _left(
    typical: float | None, done: float | None, elapsed: float | None, resumed: bool
) -> float | None:
    """Seconds to the end of a run: of what runs of its kind take, or else at its own speed."""
    if typical is not None:
        return typical * (1 - (done or 0.0))
    if resumed or not (done and elapsed):
        return None
    return elapsed * (1 - done) / done


def _newest(file: Path) -> dict[str, Any]:
    """Step, epoch, metric and score in the last rows of a file of metrics that have them."""
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            lines = stream.read().splitlines()
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for line in reversed(lines):
        try:
            row = jsonio.loads(line.decode())
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            _note(found, row)
        if "score" in found and "epoch" in found:
            break
    return found


def _note(found: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Add what a row has and later rows had not."""
    if isinstance(row.get("step"), int):
        found.setdefault("step", row["step"])
    if isinstance(row.get("epoch"), int | float):
        validated = any(str(key).startswith("val/") for key in row)
        found.setdefault("epoch", float(row["epoch"]) + validated)
    for key, value in row.items():
        if _SCORE.fullmatch(str(key)) and isinstance(value, int | float) and "score" not in found:
            found["metric"], found["score"] = key.partition("/")[2], float(value)


def _share(folder: Path, row: Mapping[str, Any], elapsed: float | None) -> float | None:
    """The share of its training that a run has done, by its limit on time, steps or epochs."""
    config = _config(folder)
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    if config.get("budget") and elapsed is not None:
        return min(1.0, elapsed / _budget(str(config["budget"])))
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    shares = [
        row[key] / limit
        for key, limit in (("step", steps), ("epoch", epochs))
        if key in row and isinstance(limit, int) and limit > 0
    ]
    return min(1.0, max(shares)) if shares else None


def _budget(text: str) -> float:
    from ssmbench.config.durations import seconds as seconds_of  # takes longer than all the rest

    try:
        return seconds_of(text)
    except UsageError:
        return float("inf")


def _config(folder: Path) -> dict[str, Any]:
    """A run's config as YAML's fast parser reads it: some numbers stay words."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def failures(runs: Sequence[Progress]) -> dict[tuple[str, str], list[Progress]]:
    """The runs that did not complete and say why, by state and reason."""
    found: dict[tuple[str, str], list[Progress]] = {}
    for run in runs:
        if run.reason and run.state not in COMPLETE:
            found.setdefault((run.state, run.reason), []).append(run)
    return found
