"""Read the search of a suite file, and say what it will do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbench.config import leaves, parse_overrides
from ssmbench.errors import require
from ssmbench.suite.file import read_suite
from ssmbench.suite.grid import Suite, load_suite
from ssmbench.suite.search.cells import SearchedCell, searched_cells
from ssmbench.suite.search.settings import Search, read_searches


@dataclass(frozen=True)
class SearchPlan:
    """The search of a suite file. ``content``: that of the file, with its parts checked;
    ``overrides``: of every run, nested."""

    suite: Suite
    cells: tuple[SearchedCell, ...]
    content: Mapping[str, Any]
    path: str | Path
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def search(self) -> Search:
        """What all cells have in common: everything but the space."""
        return self.cells[0].search

    @property
    def runs(self) -> int:
        """How many runs it has, at most."""
        return sum(trials for cell in self.cells for trials, _ in cell.search.rungs)

    def parallel(self, side_by_side: int) -> int:
        """How many trials of a cell are proposed at a time where so many runs fit side by side."""
        return max(1, math.ceil(side_by_side / len(self.cells)))


def load_search(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> SearchPlan:
    """The search of a suite file; overrides, as of :func:`ssmbench.suite.grid.load_suite`, apply to
    every run.

    Raises:
        UsageError: the file has no search; the suite, the search or an override is invalid.
    """
    content, _ = read_suite(path)
    require("search" in content, f"{path}: search: is missing: which settings to try")
    searches = read_searches(content["search"], path, content["variants"])
    over = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    searched = {key for search in searches.values() for key in search.keys}
    for key, _ in leaves(over):
        require(key not in searched, f"override {key}: {path} searches it; change it there")
    suite = load_suite(path, over)
    return SearchPlan(suite, searched_cells(path, searches, over), content, path, over)


def check_search(plan: SearchPlan) -> None:
    """Check what can be checked without training: see :meth:`SearchedCell.check`.

    Raises:
        UsageError: a value of the space is not allowed, or a run cannot be built.
    """
    for cell in plan.cells:
        cell.check()
