"""A suite is a grid: variants x discretizers x tasks x seeds, over a common base.

    name: quickstart
    base: {model: ..., optimizer: ..., trainer: ...}       # a run config, in part
    tasks: {digits: {task: digits, ...}, ...}               # run configs, in part, by label
    variants:
      S4D-Lin:
        model: {parametrization: {name: s4d, init: lin}}    # a run config, in part
        discretizers: [zoh, tustin]                         # omit for discrete-time variants
    seeds: [0, 1]
    launcher: {name: local}                                 # how runs are executed; optional
    published: {source: ..., parameters: {...}}             # what a publication states; optional

``discretizers: all`` selects every registered discretizer that can sample the variant; the others
are recorded as refused, with the reason.

Later layers override earlier ones: base, task, variant, discretizer and seed, command line. A
variant without ``discretizers`` has the discretizer of its own ``model`` section, or else that of
its task or of the base; variants in discrete time ignore the latter two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.config import (
    ModelConfig,
    copied,
    leaves,
    merge,
    parse_overrides,
    resolve,
    resolve_component,
)
from ssmbench.errors import require, suggest
from ssmbench.runs.run import Run
from ssmbench.suite.file import Refusal, check_file_name, read_suite, suite_name

#: Name of the folder for the runs, inside the suite's folder.
RUNS = "runs"

#: Options that appear in the labels of a report; overriding them would make the labels wrong.
_AXES = {
    "seed",
    "variant",
    *("task", "task.name"),
    *("model.parametrization", "model.parametrization.name"),
    *("model.discretizer", "model.discretizer.name"),
}


@dataclass(frozen=True)
class Cell:
    """One run of a suite, with its labels in the report."""

    task: str
    variant: str
    discretizer: str
    seed: int
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """Label of the run, for example ``digits/S4D-Lin-zoh-s0``."""
        return f"{label_of(self.task, self.variant, self.discretizer)}-s{self.seed}"

    def run(self, root: Path) -> Run:
        """The run of this cell, with its folder in ``root``."""
        return Run.of(self.config, root, self.label)


@dataclass(frozen=True)
class Suite:
    """A named, resolved grid, and the combinations that ``discretizers: all`` left out."""

    name: str
    cells: tuple[Cell, ...]
    refused: tuple[Refusal, ...] = ()
    launcher: Mapping[str, Any] = field(default_factory=lambda: {"name": "local"})

    def runs(self, root: Path) -> list[Run]:
        """The run of each cell; ``root`` is the suite's folder. Equal configs share a folder."""
        return [cell.run(root / RUNS) for cell in self.cells]


def load_suite(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Suite:
    """The resolved grid of a suite file; overrides, ``key=value`` strings or a nested mapping,
    apply to every run.

    Raises:
        UsageError: the file, the overrides, or a resulting run config is invalid.
    """
    raw, refused = read_suite(path)
    over = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    for key, _ in leaves(over):
        require(key not in _AXES, f"override {key}: {path} sets it for each run; change it there")
    cells = tuple(_cells(_places(raw, path), over))
    _check_labels(cells, path)
    launcher = resolve_component(
        registry.launchers, raw.get("launcher", "local"), f"{path}: launcher"
    )
    return Suite(suite_name(raw, path), cells, tuple(refused), launcher)


def load_cell(path: str | Path, label: str, overrides: Mapping[str, Any] | None = None) -> Cell:
    """One run of a suite file, by its label, of which the seed, and the discretizer where there is
    only one, may be left out: ``image/S4D-Lin``. Overrides as in a run config, nested.

    Raises:
        UsageError: as :func:`load_suite`; no run of that label, or several.
    """
    places = list(_places(read_suite(path)[0], path))
    named = [place for place in places if label in place.names()]
    of_one_seed = [place for place in named if place.seed == named[0].seed]
    known = list(dict.fromkeys(place.label for place in (of_one_seed or places)))
    problem = "several runs are" if of_one_seed else "no run is"
    hint = ", ".join(known) if of_one_seed else suggest(label, known)
    require(len(of_one_seed) == 1, f"{path}: {problem} called {label!r}; {hint}")
    return of_one_seed[0].cell(overrides or {})


@dataclass(frozen=True)
class _Place:
    """A place in the grid of a suite file; its config is resolved when it is asked for."""

    path: str | Path
    raw: Mapping[str, Any]
    task: str
    variant: str
    discretizer: str
    choice: Any
    seed: int

    @property
    def label(self) -> str:
        return label_of(self.task, self.variant, self.discretizer)

    def names(self) -> tuple[str, ...]:
        """What the run may be called; the first leaves its discretizer out."""
        return f"{self.task}/{self.variant}", self.label, f"{self.label}-s{self.seed}"

    def cell(self, over: Mapping[str, Any]) -> Cell:
        """The run, with overrides."""
        config = _resolve_cell(
            self.path, self.raw, self.task, self.variant, self.choice, self.seed, over
        )
        return Cell(self.task, self.variant, self.discretizer, self.seed, config)


def _cells(places: Iterable[_Place], over: Mapping[str, Any]) -> Iterator[Cell]:
    """The runs of a grid. A config is resolved once for all seeds, unless it contains references,
    which may be to the seed."""
    for _, group in groupby(places, lambda place: place.label):
        first, *others = group
        cell = first.cell(over)
        yield cell
        if others and "${" in repr((first.raw, over)):
            yield from (place.cell(over) for place in others)
            continue
        for place in others:
            config = copied(cell.config) | {"seed": place.seed}
            yield replace(cell, seed=place.seed, config=config)


def _places(raw: Mapping[str, Any], path: str | Path) -> Iterator[_Place]:
    for task, variant in product(raw["tasks"], raw["variants"]):
        for label, choice in _discretizers(raw, task, variant, path):
            for seed in raw["seeds"]:
                yield _Place(path, raw, task, variant, label, choice, seed)


def label_of(task: str, variant: str, discretizer: str) -> str:
    """Label of a run without its seed, for example ``digits/S4D-Lin-zoh``."""
    return f"{task}/{variant}" if discretizer == "none" else f"{task}/{variant}-{discretizer}"


def _discretizers(
    raw: Mapping[str, Any], task: str, variant: str, path: str | Path
) -> Iterator[tuple[str, Any]]:
    part = raw["variants"][variant]
    choices = part.get("discretizers")
    if choices is None:
        choice = _only_discretizer(raw.get("base") or {}, raw["tasks"][task], part)
        yield "none" if choice is None else component_label(choice), choice
        return
    require(
        isinstance(choices, list) and bool(choices),
        f"{path}: discretizers: must be all or a list of discretizers, got {choices!r}",
    )
    for choice in choices:
        yield component_label(choice), choice


def _only_discretizer(base: Mapping[str, Any], task: Mapping[str, Any], part: Any) -> Any:
    own, merged = (_model(layer) for layer in (part, merge(merge(base, task), part)))
    if "discretizer" in own:
        return own["discretizer"]
    return None if _is_discrete(merged) else merged.get("discretizer")


def _model(part: Mapping[str, Any]) -> Mapping[str, Any]:
    model = part.get("model")
    return model if isinstance(model, Mapping) else {}


def _is_discrete(model: Mapping[str, Any]) -> bool:
    component = model.get("parametrization", ModelConfig.parametrization)
    name = component.get("name") if isinstance(component, Mapping) else component
    return not registry.parametrizations.get(str(name)).factory.is_continuous()


def component_label(component: Any) -> str:
    """``name``, or ``name(option=value, ...)`` where options are given."""
    if not isinstance(component, Mapping):
        return str(component)
    options = ", ".join(f"{k}={v}" for k, v in component.items() if k != "name")
    name = str(component.get("name"))
    return f"{name}({options})" if options else name


def _resolve_cell(
    path: str | Path,
    raw: Mapping[str, Any],
    task: str,
    variant: str,
    discretizer: Any,
    seed: int,
    over: Mapping[str, Any],
) -> dict[str, Any]:
    layers = [
        raw.get("base") or {},
        raw["tasks"][task],
        {k: v for k, v in raw["variants"][variant].items() if k != "discretizers"},
        {"model": {"discretizer": discretizer}, "seed": seed, "variant": variant},
        over,
    ]
    config: dict[str, Any] = {}
    for layer in layers:
        require(isinstance(layer, Mapping), f"{path}: base: must be a part of a run config")
        config = merge(config, layer)
    return resolve(config, f"{path} ({task}, {variant})")


def _check_labels(cells: Iterable[Cell], path: str | Path) -> None:
    seen: set[str] = set()
    for cell in cells:
        require(cell.label not in seen, f"{path}: two runs are called {cell.label!r}")
        seen.add(cell.label)
        check_file_name(cell.label.removeprefix(f"{cell.task}/"), f"{path}: label")
