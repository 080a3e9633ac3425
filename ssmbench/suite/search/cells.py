"""What a search tries of each cell of a suite: the config and the run of given settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssmbench import jsonio, registry
from ssmbench.config import build, fingerprint, merge, nested, typed
from ssmbench.errors import UsageError
from ssmbench.runs.run import Run
from ssmbench.suite.places import Cell, Place, load_places
from ssmbench.suite.record import RUNS
from ssmbench.suite.search.settings import Search
from ssmbench.tasks.base import Task
from ssmbench.training.check import check


@dataclass(frozen=True)
class SearchedCell:
    """A cell of a suite, with the first of the suite's seeds, and the search of its settings;
    ``over``: overrides of every run, nested."""

    place: Place
    search: Search
    over: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Label of the cell, for example ``digits/S4D-Lin-zoh``."""
        return self.place.label

    @cached_property
    def cell(self) -> Cell:
        """The cell as the suite has it, without settings of the search."""
        return self.place.cell(self.over)

    @cached_property
    def study(self) -> str:
        """The name of the cell's study: another one where anything that a trial's value or its
        proposal depends on is another. More trials, or larger budgets, continue a study."""
        search, base = self.search, fingerprint(self.cell.config)
        lowest = None if search.halving is None else (search.halving.budget, search.budgets[0])
        space = [[key, asdict(values)] for key, values in search.space.items()]
        parts = [base, space, search.sampler, search.seed, search.objective, lowest]
        text = jsonio.dumps(parts, sort_keys=True)
        return f"{self.label} {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @cached_property
    def task(self) -> Task:
        """The task, which names its score."""
        return build(registry.tasks, self.cell.config["task"], batch_size=1, seed=0)

    def config(self, settings: Mapping[str, Any], budget: float | None) -> dict[str, Any]:
        """The resolved config of settings by dotted key, trained with ``budget``.

        Raises:
            UsageError: a key or a value is not allowed.
        """
        over = dict(settings)
        if self.search.halving is not None:
            over[self.search.halving.budget] = budget
        return self.place.cell(merge(self.over, nested(over))).config

    def run(self, settings: Mapping[str, Any], budget: float | None, root: Path, label: str) -> Run:
        """The run of these settings, with its folder in the suite's folder ``root``."""
        return Run.of(self.config(settings, budget), root / RUNS, label)

    def check(self) -> None:
        """Check every listed value and the ends of every range, the others at their first values;
        and that a run of these can be built.

        Raises:
            UsageError: one of them is not allowed.
        """
        try:
            for settings in _one_by_one(self.search):
                self.config(settings, self.search.budgets[0])
            self.config(_first(self.search), self.search.budgets[-1])
            check(typed(self.first_config()))
        except UsageError as error:
            file = self.place.path
            problem = str(error).removeprefix(f"{file} ({self.place.task}, {self.place.variant}): ")
            raise UsageError(f"{file}: search: {self.label}: {problem}") from None

    def first_config(self) -> dict[str, Any]:
        """The config of the first values, trained with the smallest budget."""
        return self.config(_first(self.search), self.search.budgets[0])


def _first(search: Search) -> dict[str, Any]:
    return {key: values.ends[0] for key, values in search.space.items()}


def _one_by_one(search: Search) -> Iterator[dict[str, Any]]:
    yield (first := _first(search))
    for key, values in search.space.items():
        yield from ({**first, key: value} for value in values.ends[1:])


def searched_cells(
    path: str | Path, searches: Mapping[str, Search], over: Mapping[str, Any]
) -> tuple[SearchedCell, ...]:
    """The cells of a suite file, each with the first of its seeds and the search of its
    variant."""
    cells: dict[str, SearchedCell] = {}
    for place in load_places(path):
        cells.setdefault(place.label, SearchedCell(place, searches[place.variant], over))
    return tuple(cells.values())
