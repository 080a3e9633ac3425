"""Two or more runs side by side: what differs in their configs, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssmbench.results import Result

#: What no config or result says.
MISSING = "-"
#: How the last of two runs is set against the first: by subtraction, or by division.
Contrast = Literal["difference", "ratio", ""]
#: Keys that follow from others or name files of one machine.
_LEFT_OUT = ("data_digest", "task.data_dir")
_ONE_RUN_EACH = (
    "one run each: a difference may be that of seeds or of rounding; `ssmbench report` compares "
    "variants over their seeds"
)


@dataclass(frozen=True)
class Row:
    """One value per run, :data:`MISSING` where a run has none; ``best``: the indices of the runs
    whose value is the best of those that can be compared, none if nothing is said of that."""

    name: str
    values: tuple[Any, ...]
    best: tuple[int, ...] = ()

    def contrast(self, kind: Contrast) -> float | None:
        """Of two runs: the second value less the first, or divided by it."""
        if len(self.values) != 2 or not all(_is_number(value) for value in self.values):
            return None
        first, second = self.values
        if kind == "ratio":
            return second / first if first and math.isfinite(first) else None
        finite = math.isfinite(first) and math.isfinite(second)
        return second - first if finite and kind == "difference" else None


@dataclass(frozen=True)
class Section:
    """A table: ``contrast`` is its last column if there are two runs."""

    title: str
    rows: tuple[Row, ...]
    contrast: Contrast = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Rows by name: the values, the best ones and, of two runs, the contrast."""
        rows = {}
        for row in self.rows:
            about: dict[str, Any] = {"values": list(row.values), "best": list(row.best)}
            if self.contrast and (value := row.contrast(self.contrast)) is not None:
                about[self.contrast] = value
            rows[row.name] = about
        return {"rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Compared:
    """What is known of one run; ``states``: real numbers that its layers carry from step to step,
    of one sequence."""

    label: str
    config: Mapping[str, Any]
    state: str
    result: Result | None
    states: int | None = None


def sections(runs: Sequence[Compared]) -> list[Section]:
    """The tables of a comparison; those with nothing to say are left out."""
    made = [_configs(runs), _scores(runs), _gains(runs), _robustness(runs), _costs(runs)]
    return [section for section in [*made, _environments(runs)] if section.rows]


def _configs(runs: Sequence[Compared]) -> Section:
    flat = [_flat(run.config) for run in runs]
    keys = _grouped(dict.fromkeys(k for one in flat for k in one if k not in _LEFT_OUT))
    rows = (Row(key, tuple(one.get(key, MISSING) for one in flat)) for key in keys)
    differing = tuple(row for row in rows if any(v != row.values[0] for v in row.values))
    return Section("config: keys that differ", differing)


def _grouped(keys: Iterable[str]) -> list[str]:
    """The keys in their order, but those of one component together."""
    keys = list(keys)
    groups: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        for depth in range(1, len(parts) + 1):
            groups.setdefault(".".join(parts[:depth]), len(groups))

    def place(key: str) -> list[int]:
        parts = key.split(".")
        return [groups[".".join(parts[:depth])] for depth in range(1, len(parts) + 1)]

    return sorted(keys, key=place)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


# --- scores -------------------------------------------------------------------------------------


def _scores(runs: Sequence[Compared]) -> Section:
    rows = [Row("state", tuple(run.state for run in runs))]
    for metric, unit, higher in _metrics(runs):
        groups = _comparable(runs, metric)
        for split in ("test", "val"):
            values = tuple(_score(run, metric, split) for run in runs)
            name = f"{split} {metric}" + (f" [{unit}]" if unit else "")
            rows.append(Row(name, values, _best(values, higher, groups)))
    starred = ["*: best of the runs on the same data"] if any(row.best for row in rows) else []
    return Section("scores", tuple(rows), "difference", (*starred, *_score_notes(runs)))


def _metrics(runs: Sequence[Compared]) -> list[tuple[str, str, bool]]:
    """Name, unit and direction of every metric."""
    tasks = [run.result.task for run in runs if run.result]
    return list(dict.fromkeys((task.metric, task.unit, task.higher_is_better) for task in tasks))


def _score(run: Compared, metric: str, split: str) -> Any:
    if run.result is None or run.result.task.metric != metric or run.result.scores is None:
        return MISSING
    return getattr(run.result.scores, split)


def _comparable(runs: Sequence[Compared], metric: str) -> list[list[int]]:
    """Indices of the runs that were scored on the same data."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, run in enumerate(runs):
        if run.result is not None and run.result.task.metric == metric:
            task = run.result.task
            groups.setdefault((task.name, task.data_digest), []).append(index)
    return list(groups.values())


def _best(values: Sequence[Any], higher: bool, groups: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The best of each group of at least two runs, none where all are equal."""
    best: list[int] = []
    for group in groups:
        known = [i for i in group if _is_number(values[i]) and not math.isnan(values[i])]
        goal = (max if higher else min)((values[i] for i in known), default=0.0)
        winners = [i for i in known if values[i] == goal]
        if len(winners) < len(known):
            best += winners
    return tuple(sorted(best))


def _score_notes(runs: Sequence[Compared]) -> list[str]:
    tasks = list(dict.fromkeys(run.config["task"]["name"] for run in runs))
    digests = {run.result.task.data_digest for run in runs if run.result}
    notes = []
    if len(tasks) > 1:
        notes.append(f"tasks differ ({', '.join(tasks)}): scores of different tasks do not compare")
    elif len(digests) > 1:
        notes.append("the data of the task differ: scores on different data do not compare")
    lost = [f"{run.label} ({run.state})" for run in runs if run.result is None]
    if lost:
        notes.append(f"no result: {', '.join(lost)}")
    return [*notes, _ONE_RUN_EACH]


# --- gains, robustness, costs ---------------------------------------------------------------------

_Reader = Callable[[Result], Any]
_GAINS: dict[str, _Reader] = {
    "declared": lambda r: r.gain.declared,
    "verified": lambda r: r.gain.verified,
    "frozen (no bound)": lambda r: r.gain.frozen,
    "attacked": lambda r: r.gain.attacked,
    "spectral radius": lambda r: r.gain.spectral_radius,
    "network declared": lambda r: r.gain.network.declared,
    "network bound": lambda r: r.gain.network.bound,
    "network attacked": lambda r: r.gain.network.attacked,
    "no network bound, because": lambda r: r.gain.network.reason or None,
}
_OF_LAYERS = ("declared", "verified", "attacked")


def _gains(runs: Sequence[Compared]) -> Section:
    rows = [_read(name, runs, reader) for name, reader in _GAINS.items()]
    depth = max((len(run.result.gain.layers) for run in runs if run.result), default=0)
    for index in range(depth if depth > 1 else 0):
        for key in _OF_LAYERS:
            rows.append(_read(f"layer {index} {key}", runs, _of_layer(index, key)))
    notes = {run.result.gain.note for run in runs if run.result and run.result.gain.note}
    broken = [v for run in runs if run.result for v in run.result.gain.violations]
    said = (*sorted(notes), *(f"violated bound: {violation}" for violation in broken))
    return Section("gains (the largest of all layers)", _known(rows), "ratio", said)


def _of_layer(index: int, key: str) -> _Reader:
    def value(result: Result) -> Any:
        layers = result.gain.layers
        return getattr(layers[index], key) if index < len(layers) else None

    return value


def _robustness(runs: Sequence[Compared]) -> Section:
    found = [
        {(p.kind, p.energy): p.score for p in run.result.robustness} if run.result else {}
        for run in runs
    ]
    rows = []
    for kind, energy in dict.fromkeys(key for points in found for key in points):
        values = tuple(
            MISSING if (score := points.get((kind, energy))) is None else score for points in found
        )
        rows.append(Row(f"{kind} disturbance of {energy:g}", values, _best_of_all(runs, values)))
    return Section("test scores under disturbances", tuple(rows), "difference")


def _best_of_all(runs: Sequence[Compared], values: Sequence[Any]) -> tuple[int, ...]:
    found: set[int] = set()
    for metric, _, higher in _metrics(runs):
        found |= set(_best(values, higher, _comparable(runs, metric)))
    return tuple(sorted(found))


_COSTS: dict[str, _Reader] = {
    "parameters": lambda r: r.parameters,
    "optimizer steps": lambda r: r.steps,
    "steps per second": lambda r: r.steps_per_second,
    "time [s]": lambda r: r.seconds,
    "peak memory [MiB]": lambda r: _mebibytes(r.provenance and r.provenance.peak_memory),
    "peak GPU memory [MiB]": lambda r: _mebibytes(r.provenance and r.provenance.peak_gpu_memory),
    "energy [J]": lambda r: r.provenance and r.provenance.energy,
}


def _costs(runs: Sequence[Compared]) -> Section:
    states = Row("states", tuple(MISSING if run.states is None else run.states for run in runs))
    rows = [_read(name, runs, reader) for name, reader in _COSTS.items()]
    places = {(r.environment.device, r.provenance and r.provenance.host) for r in _results(runs)}
    notes = ("speed and memory of different machines do not compare",) if len(places) > 1 else ()
    return Section("size, speed and memory", _known([rows[0], states, *rows[1:]]), "ratio", notes)


def _mebibytes(count: int | None) -> float | None:
    return None if count is None else round(count / 2**20, 1)


def _environments(runs: Sequence[Compared]) -> Section:
    readers: dict[str, _Reader] = {
        "device": lambda r: r.environment.device,
        "host": lambda r: r.provenance and r.provenance.host,
        "threads": lambda r: r.environment.threads,
        "commit": lambda r: _short(r.provenance and r.provenance.commit),
        "python": lambda r: r.environment.python,
    }
    packages = dict.fromkeys(n for r in _results(runs) for n in r.environment.packages or {})
    readers |= {name: _package(name) for name in packages}
    rows = [_read(name, runs, reader) for name, reader in readers.items()]
    differing = tuple(row for row in rows if any(v != row.values[0] for v in row.values))
    return Section("environment: what differs", differing if len(_results(runs)) > 1 else ())


def _short(commit: str | None) -> str | None:
    """The first 12 digits, and whether files had been changed."""
    return commit and commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


def _package(name: str) -> _Reader:
    return lambda result: (result.environment.packages or {}).get(name)


def _results(runs: Sequence[Compared]) -> list[Result]:
    return [run.result for run in runs if run.result]


def _read(name: str, runs: Sequence[Compared], reader: _Reader) -> Row:
    values = [reader(run.result) if run.result else None for run in runs]
    return Row(name, tuple(MISSING if value is None else value for value in values))


def _known(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in which at least one run has a value."""
    return tuple(row for row in rows if any(value != MISSING for value in row.values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
