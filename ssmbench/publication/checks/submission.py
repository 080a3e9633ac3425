"""The files of one published run, read with suspicion, and whether they are about the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssmbench.config import read_yaml
from ssmbench.errors import UsageError, require
from ssmbench.publication.layout import (
    CONFIG,
    MAX_CONFIG,
    RESULT,
    RUNS,
    Entry,
    read_bytes,
    read_result,
)
from ssmbench.results import Result
from ssmbench.runs.given import fingerprint_of

#: What YAML has for references between its parts and to code; a published config has none.
_REFUSED = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken, yaml.DirectiveToken)
#: The time to read YAML grows with the square of the brackets that are open.
_MOST_BRACKETS = 1000


@dataclass(frozen=True)
class Submission:
    """Config and result of an entry; ``folder`` is the run's."""

    entry: Entry
    folder: Path
    config: Mapping[str, Any]
    result: Result


def read_submission(root: Path, entry: Entry) -> Submission:
    """The texts of a run.

    Raises:
        UsageError: a file is missing, too large, or not of its form.
    """
    folder = root / RUNS / entry.fingerprint
    result = read_result(root, entry)
    return Submission(entry, folder, read_config(folder / CONFIG), result)


def read_config(file: Path) -> dict[str, Any]:
    """A config of plain values; references would read this machine's environment, and references
    to references take all of its memory.

    Raises:
        UsageError: it is none.
    """
    content = read_bytes(file, MAX_CONFIG)
    brackets = content.count(b"[") + content.count(b"{")
    require(brackets <= _MOST_BRACKETS, f"{file.name}: too many brackets")
    require(b"${" not in content, f"{file.name}: a reference (${{...}}) is not allowed")
    try:
        found = next((t for t in yaml.scan(content) if isinstance(t, _REFUSED)), None)
    except (yaml.YAMLError, ValueError):
        raise UsageError(f"{file.name}: not YAML") from None
    what = type(found).__name__.removesuffix("Token").lower()
    require(found is None, f"{file.name}: a YAML {what} is not allowed")
    try:
        return read_yaml(file)
    except UsageError as error:
        raise UsageError(str(error).replace(str(file), file.name)) from None


def faults(one: Submission) -> Iterator[str]:
    """Where entry, config and result are not about the same run."""
    config, result, entry = one.config, one.result, one.entry
    name = fingerprint_of(config, result.imported)
    if name != entry.fingerprint:
        yield f"{CONFIG} has the fingerprint {name}, not that of its folder"
    if result.fingerprint != entry.fingerprint:
        yield f"{RESULT} is that of the run {result.fingerprint!r:.40}"
    for what, said, known in _pairs(config, result):
        if said != known:
            yield f"{RESULT}: {what} is {said!r:.60}, but {CONFIG} has {known!r:.60}"
    for what, said, known in _listed(entry, result):
        if not _same(said, known):
            yield f"leaderboard.json: {what} is {said!r:.60}, but {RESULT} has {known!r:.60}"
    if not 1 <= entry.steps <= entry.sizes.length:
        yield f"leaderboard.json: steps is {entry.steps}, not in 1..{entry.sizes.length}"
    yield from _scores_faults(result)
    yield from _truncation_faults(config, result)


def _pairs(config: Mapping[str, Any], result: Result) -> Iterator[tuple[str, Any, Any]]:
    model = config["model"]
    parametrization, sampled = model["parametrization"]["name"], model.get("discretizer")
    about = result.imported
    kind = parametrization if about is None else about.layout
    yield "variant", result.variant, config.get("variant") or kind
    yield "parametrization", result.parametrization, parametrization
    yield "discretizer", result.discretizer, sampled and sampled["name"]
    yield "seed", result.seed, config["seed"]
    yield "task", result.task.name, config["task"]["name"]
    yield "the data's digest", result.task.data_digest, config.get("data_digest", "")


def _listed(entry: Entry, result: Result) -> Iterator[tuple[str, Any, Any]]:
    """What the entry says of the result."""
    scores, gain, network = result.scores, result.gain, result.gain.network
    yield "variant", entry.variant, result.variant
    yield "discretizer", entry.discretizer.partition("(")[0], result.discretizer or "none"
    yield "seed", entry.seed, result.seed
    yield "status", entry.status, result.status
    yield "metric", entry.metric, result.task.metric
    yield "unit", entry.unit, result.task.unit
    yield "higher_is_better", entry.higher_is_better, result.task.higher_is_better
    yield "val", entry.val, scores and scores.val
    yield "test", entry.test, scores and scores.test
    yield "declared", entry.declared, gain.declared
    yield "verified", entry.verified, gain.verified
    yield "attacked", entry.attacked, gain.attacked
    yield "network_declared", entry.network_declared, network.declared
    yield "network_bound", entry.network_bound, network.bound
    yield "network_attacked", entry.network_attacked, network.attacked
    yield "parameters", entry.parameters, result.parameters


def _same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)  # NaN is not equal to itself


def _truncation_faults(config: Mapping[str, Any], result: Result) -> Iterator[str]:
    asked = (config.get("truncation") or {}).get("epochs") or []
    done = [one.epoch for one in result.truncations]
    if done != asked[: len(done)]:
        yield f"{RESULT}: truncations after epochs {done}, but {CONFIG} has {asked!r:.60}"
    if done and result.imported is not None:
        yield f"{RESULT}: weights that were given have no truncations in training"


def _scores_faults(result: Result) -> Iterator[str]:
    if result.diverged and result.scores is not None:
        yield f"{RESULT}: a diverged run has no scores"
    if result.diverged is (result.diverged_at is None):
        yield f"{RESULT}: diverged_at does not go with the status {result.status}"
