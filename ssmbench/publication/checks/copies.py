"""What two published runs may not have in common: weights, measurements, the name of a task."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ssmbench.errors import SsmbenchError
from ssmbench.publication.checks.submission import Submission, read_submission
from ssmbench.publication.identity import scored_on, trained_by
from ssmbench.publication.layout import WEIGHTS, Entry
from ssmbench.publication.weights import read_weights, values_digest
from ssmbench.results import Result

#: So many different scores do not agree by chance.
_MANY = 8


def copies(root: Any, entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Fingerprints of runs that share what they cannot share, each with a sentence.

    Nothing in a folder says which of two was there first, so both are named.
    """
    runs = [one for entry in entries if (one := _read(root, entry)) is not None]
    marks: dict[Hashable, list[Submission]] = {}
    for one in runs:
        for mark in _marks(one):
            marks.setdefault(mark, []).append(one)
    for (what, _), owners in marks.items():  # pyright: ignore[reportGeneralTypeIssues]
        for one in owners:
            other = next((o for o in owners if not _may_share(one.config, o.config)), None)
            if other is not None:
                yield one.entry.fingerprint, f"{what} are those of {_name(other.entry)}: a copy"
    yield from _other_tasks(runs)


def _read(root: Any, entry: Entry) -> Submission | None:
    """None for a run that cannot be read, which is rejected for that."""
    try:
        return read_submission(root, entry)
    except Exception:  # of files that somebody else wrote
        return None


def _name(entry: Entry) -> str:
    return f"{entry.label} ({entry.fingerprint})"


def _marks(one: Submission) -> Iterator[tuple[str, Hashable]]:
    """What two runs have in common only if one is a copy, each with a name."""
    if not one.result.diverged:
        with suppress(SsmbenchError, RuntimeError):  # rejected for that
            yield "its weights", values_digest(read_weights(one.folder / WEIGHTS))
    for what, figures in _measured(one.result).items():
        if figures:
            yield what, figures


def _measured(result: Result) -> dict[str, tuple[float, ...]]:
    """Measurements that depend on every bit of a network, or of the time that something took; empty
    where they could agree by chance."""
    network, scores = result.gain.network, result.scores
    attacked = (network.attacked, *(layer.attacked for layer in result.gain.layers))
    known = [] if scores is None else [scores.val, scores.test, *(scores.further or {}).values()]
    known += [point.score for point in (*result.robustness, *result.further_tests)]
    finite = tuple(value for value in known if value is not None and math.isfinite(value))
    speed = result.steps_per_second
    telling = all(0 < value < math.inf for value in attacked)
    return {
        "its attacked gains": attacked if telling else (),
        "its scores": finite if len(set(finite)) >= _MANY else (),
        "its steps per second": () if speed is None else (speed,),
    }


def _may_share(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configs are of the same training, measured in two ways; or the same config."""
    return trained_by(one) == trained_by(other)


def _other_tasks(runs: Sequence[Submission]) -> Iterator[tuple[str, str]]:
    """Runs whose scores are listed under the name of a task that others have with other options."""
    by_name: dict[str, list[Submission]] = {}
    for one in runs:
        by_name.setdefault(one.entry.task, []).append(one)
    for name, same in by_name.items():
        kinds: dict[str, list[Submission]] = {}
        for one in same:
            kinds.setdefault(scored_on(one.config), []).append(one)
        most = max(kinds.values(), key=len)
        reference = _name(most[0].entry)
        for one in (one for kind in kinds.values() if kind is not most for one in kind):
            fault = f"task {name!r:.60} has other options or data than in {reference}"
            yield one.entry.fingerprint, fault
