"""Successive halving: many trials with a small budget, the best of them with larger ones.

Karnin, Koren and Somekh (ICML 2013), as used for training by Jamieson and Talwalkar (AISTATS 2016).
Each rung trains from the start, because schedules of learning rates depend on the total; which
trials go on is decided by rank when the whole rung has ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssmbench.errors import require, suggest

_KEYS = ("budget", "from", "to", "factor")


@dataclass(frozen=True)
class Halving:
    """``budget``: the dotted key that the rungs set, from ``low`` to ``high``, each ``factor``
    times the one before; 1 of ``factor`` trials goes on to the next rung."""

    budget: str
    low: float
    high: float
    factor: int = 3

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budget of each rung: ``high``, ``high / factor``, ... not below ``low``, increasing;
        rounded to whole numbers if both ends are."""
        rungs = math.floor(math.log(self.high / self.low, self.factor) + 1e-9) + 1
        exact = [self.high / self.factor**back for back in reversed(range(rungs))]
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return tuple(math.floor(budget + 0.5) if whole else budget for budget in exact)

    def survivors(self, trials: int) -> int:
        """How many of a rung's trials go on to the next one; at least one."""
        return max(1, trials // self.factor)


def read_halving(raw: Any, where: str) -> Halving:
    """The section ``halving`` of a search.

    Raises:
        UsageError: a key is unknown or missing, or a value is not allowed.
    """
    require(isinstance(raw, Mapping), f"{where}: must be a mapping, got {raw!r}")
    for key in raw:
        require(key in _KEYS, f"{where}: unknown key {key!r}: {suggest(str(key), _KEYS)}")
    for key in _KEYS[:3]:
        require(key in raw, f"{where}: {key}: is missing")
    budget, low, high, factor = (raw.get(key, 3) for key in _KEYS)
    named = isinstance(budget, str) and bool(budget)
    require(named, f"{where}: budget: must be a dotted key of a run config, got {budget!r}")
    for key in ("from", "to"):
        number = type(raw[key]) in (int, float) and 0 < raw[key] < math.inf
        require(number, f"{where}: {key}: must be a positive number, got {raw[key]!r}")
    whole = type(factor) is int and 2 <= factor <= 1000
    require(whole, f"{where}: factor: must be a whole number from 2 to 1000, got {factor!r}")
    require(
        high >= low * factor,
        f"{where}: to: must be at least factor x from, {low * factor:g}, got {high!r}",
    )
    return Halving(budget, low, high, factor)
