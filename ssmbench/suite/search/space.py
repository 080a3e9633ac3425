"""The space of a search: for each option, by its dotted key, the values that it may take.

optimizer.lr: {log: [1.0e-4, 0.1]}     # a real number, its logarithm uniform
model.dropout: {uniform: [0, 0.3]}     # a real number, uniform
batch_size: {int: [4, 32], log: true}  # a whole number, both ends included
model.parametrization.d_state: [16, 32, 64]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssmbench import jsonio
from ssmbench.errors import require, suggest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: Significant digits of sampled real numbers: readable, and the same on every machine.
_DIGITS = 6
_FORMS = "must be a list of values or one of {uniform: [low, high]}, {log: ...} and {int: ...}"


@dataclass(frozen=True)
class Choice:
    """One of several values, which may be components with their options."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check: all of them."""
        return self.values

    def distribution(self) -> BaseDistribution:
        """For Optuna, whose categories are the values as JSON: 1 and True stay apart."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([jsonio.dumps(value) for value in self.values])

    def stored(self, value: Any) -> Any:
        """What Optuna's journal holds of a value."""
        return jsonio.dumps(value)

    def value(self, stored: Any) -> Any:
        """The value of which the journal holds ``stored``."""
        return jsonio.loads(stored)


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``; ``log``: its logarithm is uniform; ``whole``: an int."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check."""
        return self.low, self.high

    def distribution(self) -> BaseDistribution:
        """The same range for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        kind = IntDistribution if self.whole else FloatDistribution
        return kind(self.low, self.high, log=self.log)  # type: ignore[arg-type]

    def stored(self, value: Any) -> Any:
        """What Optuna's journal holds of a value."""
        return value

    def value(self, stored: Any) -> Any:
        """The number itself; a real one rounded to a few significant digits."""
        if self.whole:
            return int(stored)
        return min(max(float(f"{stored:.{_DIGITS}g}"), self.low), self.high)


Values = Choice | Range
Space = Mapping[str, Values]


def parse_space(raw: Any, where: str) -> Space:
    """The space in a search's section ``space``.

    Raises:
        UsageError: an option's values are neither a list nor a range; keys overlap.
    """
    usable = isinstance(raw, Mapping) and bool(raw) and all(isinstance(key, str) for key in raw)
    require(usable, f"{where}: must map dotted keys of a run config to their values, got {raw!r}")
    space = {key: _values(value, f"{where}: {key}") for key, value in raw.items()}
    for key in space:
        above = [other for other in space if key.startswith(f"{other}.")]
        require(not above, f"{where}: {key} is a part of {above[0] if above else ''}; choose one")
    return space


def _values(raw: Any, where: str) -> Values:
    if isinstance(raw, list):
        return _choice(raw, where)
    require(isinstance(raw, Mapping) and bool(raw), f"{where}: {_FORMS}, got {raw!r}")
    whole = "int" in raw
    known = ("int", "log") if whole else ("int", "uniform", "log")
    for key in raw:
        require(key in known, f"{where}: unknown key {key!r}: {suggest(str(key), known)}")
    if whole:
        log = raw.get("log", False)
        require(isinstance(log, bool), f"{where}: log: beside int: true or false, got {log!r}")
        return _range(raw["int"], log, True, f"{where}: int")
    require(len(raw) == 1, f"{where}: {_FORMS}, got {dict(raw)!r}")
    ((kind, bounds),) = raw.items()
    return _range(bounds, kind == "log", False, f"{where}: {kind}")


def _choice(values: list[Any], where: str) -> Choice:
    require(bool(values), f"{where}: must list at least one value")
    texts = [jsonio.dumps(value) for value in values]
    for text in texts:
        require(texts.count(text) == 1, f"{where}: lists {text} twice")
    return Choice(tuple(values))


def _range(bounds: Any, log: bool, whole: bool, where: str) -> Range:
    kind = "whole numbers" if whole else "numbers"
    pair = isinstance(bounds, list) and len(bounds) == 2
    numbers = pair and all(_is_number(bound, whole) for bound in bounds)
    require(numbers, f"{where}: must be two {kind}, [low, high], got {bounds!r}")
    low, high = bounds
    require(low < high, f"{where}: the first number must be less than the second, got {bounds!r}")
    require(low > 0 or not log, f"{where}: a logarithmic range must be above 0, got {bounds!r}")
    return Range(low, high, log, whole) if whole else Range(float(low), float(high), log)


def _is_number(value: Any, whole: bool) -> bool:
    if type(value) is int:
        return True
    return not whole and type(value) is float and math.isfinite(value)
