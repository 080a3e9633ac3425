"""A suite is a grid: variants x discretizers x tasks x seeds, over a common base.

    name: quickstart
    base: {model: ..., optimizer: ..., trainer: ...}       # a run config, in part
    tasks: {digits: {task: digits, ...}, ...}               # run configs, in part, by label
    variants:
      S4D-Lin:
        model: {parametrization: {name: s4d, init: lin}}    # a run config, in part
        discretizers: [zoh, tustin]                         # omit for discrete-time variants
    seeds: [0, 1]                                           # or how many, from 0
    defaults: [quickstart, mine.yaml]                       # suites to build on; optional
    exclude: [digits/S4D*-s1, {variant: L2RU}]              # selectors; so has include; optional
    overrides:                                              # for some of the runs; optional
      - {for: "*/L2RU", set: {optimizer: {lr: 0.001}}}
    launcher: {name: local}                                 # how runs are executed; optional
    search: {trials: 20, space: {...}}                      # of settings; optional
    published: {source: ..., parameters: {...}}             # what a publication states; optional

``discretizers: all`` selects every registered discretizer that can sample the variant; the others
are recorded as refused, with the reason.

Later layers override earlier ones: base, task, variant, discretizer and seed, the file's
``overrides`` in their order, command line. A
variant without ``discretizers`` has the discretizer of its own ``model`` section, or else that of
its task or of the base; variants in discrete time ignore the latter two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbench.config import parse_overrides
from ssmbench.errors import require, suggest
from ssmbench.runs.run import Run
from ssmbench.suite.composition import check_file_name, suite_name
from ssmbench.suite.file import Refusal, read_suite
from ssmbench.suite.launcher import read_launcher
from ssmbench.suite.places import (
    AXES,
    Cell,
    Place,
    cells_of,
    check_axes,
    component_label,
    load_places,
    places_of,
)
from ssmbench.suite.record import RUNS
from ssmbench.suite.selection import label_of, parse_selectors, select

__all__ = [
    "AXES",
    "RUNS",
    "Cell",
    "Place",
    "Suite",
    "component_label",
    "label_of",
    "load_cell",
    "load_places",
    "load_suite",
]


@dataclass(frozen=True)
class Suite:
    """A named, resolved grid, and the combinations that ``discretizers: all`` left out."""

    name: str
    cells: tuple[Cell, ...]
    refused: tuple[Refusal, ...] = ()
    #: The labels of the cells that are executed now; None for all. The others stay in the report.
    chosen: frozenset[str] | None = None
    launcher: Mapping[str, Any] = field(default_factory=lambda: {"name": "local"})

    @property
    def chosen_cells(self) -> list[Cell]:
        """The cells that are executed now."""
        return [cell for cell in self.cells if self.chosen is None or cell.label in self.chosen]

    def runs(self, root: Path) -> list[Run]:
        """The run of each cell; ``root`` is the suite's folder. Equal configs share a folder."""
        return [cell.run(root / RUNS) for cell in self.cells]


def load_suite(
    path: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> Suite:
    """The resolved grid of a suite file; overrides, ``key=value`` strings or a nested mapping,
    apply to every run. ``include`` and ``exclude``: selectors of the runs that are executed now.

    Raises:
        UsageError: the file, the overrides, a selector or a resulting run config is invalid.
    """
    raw, refused = read_suite(path)
    over = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    check_axes(over, "override ", str(path))
    cells = tuple(cells_of(places_of(raw, path), over))
    _check_labels(cells, path)
    launcher = read_launcher(raw.get("launcher", "local"), f"{path}: launcher", Path(path).parent)
    chosen = _chosen(cells, include, exclude)
    return Suite(suite_name(raw, path), cells, tuple(refused), chosen, launcher)


def _chosen(
    cells: Sequence[Cell], include: Iterable[str], exclude: Iterable[str]
) -> frozenset[str] | None:
    where = ("--include", "--exclude")
    wanted, unwanted = parse_selectors(include, where[0]), parse_selectors(exclude, where[1])
    if not (wanted or unwanted):
        return None
    return frozenset(cell.label for cell in select(cells, wanted, unwanted, where))


def load_cell(path: str | Path, label: str, overrides: Mapping[str, Any] | None = None) -> Cell:
    """One run of a suite file, by its label, of which the seed, and the discretizer where there is
    only one, may be left out: ``image/S4D-Lin``. Overrides as in a run config, nested.

    Raises:
        UsageError: as :func:`load_suite`; no run of that label, or several.
    """
    places = load_places(path)
    named = [place for place in places if label in place.names()]
    of_one_seed = [place for place in named if place.seed == named[0].seed]
    known = list(dict.fromkeys(place.label for place in (of_one_seed or places)))
    problem = "several runs are" if of_one_seed else "no run is"
    hint = ", ".join(known) if of_one_seed else suggest(label, known)
    require(len(of_one_seed) == 1, f"{path}: {problem} called {label!r}; {hint}")
    return of_one_seed[0].cell(overrides or {})


def _check_labels(cells: Iterable[Cell], path: str | Path) -> None:
    seen: set[str] = set()
    for cell in cells:
        require(cell.label not in seen, f"{path}: two runs are called {cell.label!r}")
        seen.add(cell.label)
        check_file_name(cell.label.removeprefix(f"{cell.task}/"), f"{path}: label")
