"""The runs in the folder of a suite, or of one run, and which of them can be published."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import require
from ssmbench.publication import sizes as plain
from ssmbench.publication.card import model_card
from ssmbench.publication.identity import scored_on
from ssmbench.publication.layout import CARD, CONFIG, RESULT, RUNS, WEIGHTS, Entry
from ssmbench.publication.plugins import sources_in_use
from ssmbench.publication.privacy import personal_words, without_folders, without_hosts
from ssmbench.publication.weights import to_safetensors
from ssmbench.results import Gains, Result
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.record import SUITE_FILE, read_suite, recorded_runs
from ssmbench.yamlio import dump_yaml, read_yaml


@dataclass(frozen=True)
class Candidate:
    """A run that may be published, under the labels that it has in its suite."""

    folder: RunFolder
    label: str
    task: str = ""
    discretizer: str = ""


@dataclass(frozen=True)
class Prepared:
    """A published run in memory: its entry, and the contents of its files and of its plugins' by
    their paths in the folder. ``scored_on``: what identifies the task."""

    entry: Entry
    scored_on: str
    files: Mapping[str, bytes]
    plugins: Mapping[str, bytes]


def candidates(root: Path) -> list[Candidate]:
    """The runs of the suite in ``root``, each folder once, or the run in ``root``.

    Raises:
        UsageError: it is the folder of neither, or of a search.
    """
    if (root / SUITE_FILE).exists():
        return list(_of_suite(root))
    known = (root / CONFIG).is_file()
    require(known, f"{root}: neither a suite's folder ({SUITE_FILE}) nor a run's ({CONFIG})")
    return [Candidate(RunFolder(root), root.name)]


def _of_suite(root: Path) -> Iterator[Candidate]:
    searched = "objective" in read_suite(root)
    require(not searched, f"{root}: a search is not published; run its best.yaml, and publish that")
    seen = set()
    for run in recorded_runs(root):
        if run.fingerprint not in seen:
            seen.add(run.fingerprint)
            yield Candidate(run.folder(root), run.label, run.task, run.discretizer)


def prepared(
    candidate: Candidate,
    *,
    licence: str = "",
    licences: Mapping[str, str] | None = None,
    with_hosts: bool = False,
) -> Prepared:
    """The files of a run. ``licences``: by fingerprint, where no ``licence`` is given.

    Raises:
        UsageError: it cannot be published; the message says why.
    """
    from ssmbench.runs.given import fingerprint_of

    folder = candidate.folder
    state = folder.checked_state
    reason = f": {folder.checked_reason}" if folder.checked_reason else ""
    require(state in COMPLETE, f"{state}{reason}")
    config, result = read_yaml(folder.path / CONFIG), folder.read_result()
    name = fingerprint_of(config, result.imported)
    require(result.fingerprint == name, f"its result is that of another config ({name})")
    require(bool(result.gain.layers), "its result has no gains of single layers: it is too old")
    plugins, sources = sources_in_use(config)
    if not with_hosts:
        config, result = without_folders(config), without_hosts(result)
        _check_personal(config, result, sources)
    kept = licence or (licences or {}).get(name, "")
    entry = dataclasses.replace(_entry(candidate, result), plugins=plugins, licence=kept)
    files = _files(entry, config, result, folder.path)
    return Prepared(entry, scored_on(config), files, sources)


def _check_personal(
    config: Mapping[str, Any], result: Result, sources: Mapping[str, bytes]
) -> None:
    """Raise a UsageError if what remains names a folder, a host or a user: it cannot be removed
    from a config without changing the run's identity."""
    texts = {file: content.decode(errors="replace") for file, content in sources.items()}
    places = {CONFIG: config, RESULT: result, **texts}
    for place, content in places.items():
        found = personal_words(content)
        words = ", ".join(map(repr, found[:3]))
        require(not found, f"{place} has {words}; --with-hosts publishes that too")


def _files(
    entry: Entry, config: Mapping[str, Any], result: Result, folder: Path
) -> dict[str, bytes]:
    from ssmbench.runs.load import trained_weights

    files = {
        CONFIG: dump_yaml(config).encode(),
        RESULT: (jsonio.dumps(result.to_dict(), indent=1) + "\n").encode(),
        CARD: model_card(entry, result, config).encode(),
    }
    if not result.diverged:
        files[WEIGHTS] = to_safetensors(trained_weights(folder))
    return {f"{RUNS}/{entry.fingerprint}/{name}": content for name, content in files.items()}


def _entry(candidate: Candidate, result: Result) -> Entry:
    network, gain, scores = result.gain.network, result.gain, result.scores
    sizes, steps = _built(candidate.folder.path, gain, diverged=result.diverged)
    return Entry(
        fingerprint=result.fingerprint,
        task=candidate.task or result.task.name,
        variant=result.variant,
        discretizer=candidate.discretizer or result.discretizer or "none",
        seed=result.seed,
        status=result.status,
        metric=result.task.metric,
        higher_is_better=result.task.higher_is_better,
        unit=result.task.unit,
        val=scores and scores.val,
        test=scores and scores.test,
        declared=gain.declared,
        verified=gain.verified,
        attacked=gain.attacked,
        network_declared=network.declared,
        network_bound=network.bound,
        network_attacked=network.attacked,
        parameters=result.parameters,
        sizes=sizes,
        steps=steps,
    )


def _built(path: Path, gain: Gains, *, diverged: bool) -> tuple[Any, int]:
    """The sizes of the task, and the length for which the network's bound holds.

    Building the network also shows that the weights are those of its config.
    """
    from ssmbench.runs.load import load_task, load_trained

    with warnings.catch_warnings():  # of edited plugins, which have been refused by now
        warnings.simplefilter("ignore")
        if diverged:
            sizes = load_task(path).sizes
            return plain.to_record(sizes), sizes.length
        run = load_trained(path)
    sizes = run.task.sizes
    return plain.to_record(sizes), _steps_of_bound(run.model, gain, sizes.length)


def _steps_of_bound(model: Any, gain: Gains, longest: int) -> int:
    """The length for which a network's bound was composed, which is that of the shortest sequence
    that was seen: bounds fall with the length, or do not depend on it."""
    from ssmbench.training.composed import composed_bound

    network = gain.network
    given = network.bound if network.product_bound is None else network.product_bound
    layers = list(gain.layers)
    low, high = 1, longest
    if not math.isfinite(given):
        return longest
    while low < high:  # the largest length whose bound is not below the given one
        middle = (low + high + 1) // 2
        bound = composed_bound(model, layers, middle).value
        low, high = (middle, high) if bound >= given * (1 - 1e-9) else (low, middle - 1)
    return low
