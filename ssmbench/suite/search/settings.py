"""The section ``search`` of a suite file, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ssmbench.config import NOT_FINGERPRINTED
from ssmbench.errors import require, suggest
from ssmbench.options import SEED
from ssmbench.suite.places import AXES
from ssmbench.suite.search.halving import Halving, read_halving
from ssmbench.suite.search.space import Choice, Space, parse_space

SAMPLERS = ("tpe", "random", "grid")
#: By name: the score on the validation data with the best weights, and with the last ones.
OBJECTIVES = ("val", "last_val")
_KEYS = ("trials", "sampler", "seed", "objective", "space", "spaces", "halving", "parallel")
_MOST = 100_000
#: Keys that no search may change: results are stored by what they are, or for what they stand.
_SET_BY_SSMBENCH = ("data_digest", "start_digest", "sources", *NOT_FINGERPRINTED)


@dataclass(frozen=True)
class Search:
    """What to search of a variant, and how.

    ``trials``: of each cell; ``parallel``: how many of a cell are proposed at a time, None for as
    many as the launcher runs side by side; ``seed``: of what is sampled.
    """

    trials: int
    space: Space
    sampler: str = "tpe"
    seed: int = 0
    objective: str = "val"
    halving: Halving | None = None
    parallel: int | None = None

    @property
    def rungs(self) -> tuple[tuple[int, float | None], ...]:
        """How many trials each rung has, at most, and their budget."""
        numbers = [self.trials]
        for _ in self.budgets[1:]:
            assert self.halving is not None, "only halving has several rungs"
            numbers.append(self.halving.survivors(numbers[-1]))
        return tuple(zip(numbers, self.budgets, strict=True))

    @property
    def budgets(self) -> tuple[float | None, ...]:
        """The budget of each rung; None is that of the suite."""
        return self.halving.budgets if self.halving else (None,)

    @property
    def keys(self) -> set[str]:
        """The dotted keys that it sets."""
        return {*self.space, *([self.halving.budget] if self.halving else [])}

    def grid(self) -> Iterator[dict[str, Any]]:
        """All combinations of the values in lists, in the order of the file."""
        values = [one.values for one in self.space.values() if isinstance(one, Choice)]
        for combination in product(*values):
            yield dict(zip(self.space, combination, strict=True))


def read_searches(raw: Any, path: object, variants: Iterable[str]) -> dict[str, Search]:
    """The search of each variant of a suite file, by the variant's label.

    Raises:
        UsageError: a key is unknown or missing, or a value is not allowed.
    """
    where = f"{path}: search"
    require(isinstance(raw, Mapping), f"{where}: must be a mapping, got {raw!r}")
    for key in raw:
        require(key in _KEYS, f"{where}: unknown key {key!r}: {suggest(str(key), _KEYS)}")
    own = _own_spaces(raw.get("spaces", {}), variants, f"{where}: spaces")
    spaces = {
        variant: _space(raw.get("space", {}), own.get(variant), where, variant)
        for variant in variants
    }
    return {variant: _search(raw, space, where) for variant, space in spaces.items()}


def _search(raw: Mapping[str, Any], space: Space, where: str) -> Search:
    sampler = _one_of(raw.get("sampler", "tpe"), SAMPLERS, f"{where}: sampler")
    objective = _one_of(raw.get("objective", "val"), OBJECTIVES, f"{where}: objective")
    halving = read_halving(raw["halving"], f"{where}: halving") if "halving" in raw else None
    _check_keys(space, halving, where)
    return Search(
        trials=_trials(raw, sampler, space, where),
        space=space,
        sampler=sampler,
        seed=_whole(raw.get("seed", 0), f"{where}: seed", 0, 2**32 - 1, SEED.words),
        objective=objective,
        halving=halving,
        parallel=_count(raw["parallel"], f"{where}: parallel") if "parallel" in raw else None,
    )


def _own_spaces(raw: Any, variants: Iterable[str], where: str) -> Mapping[str, Any]:
    mappings = isinstance(raw, Mapping) and all(isinstance(own, Mapping) for own in raw.values())
    require(mappings, f"{where}: must map variants to further keys of their space, got {raw!r}")
    own = {str(variant): keys for variant, keys in raw.items()}
    for variant in own:
        require(variant in variants, f"{where}: unknown {variant!r}: {suggest(variant, variants)}")
    return own


def _space(raw: Any, own: Mapping[str, Any] | None, where: str, variant: str) -> Space:
    """The space of a variant: that of all, with keys of its own; null takes a key out."""
    if own is None:
        return parse_space(raw, f"{where}: space")
    require(isinstance(raw, Mapping), f"{where}: space: must be a mapping, got {raw!r}")
    for key, values in own.items():
        known = values is not None or key in raw
        require(known, f"{where}: spaces: {variant}: {key}: null: is not in the space")
    merged = {key: values for key, values in {**raw, **own}.items() if values is not None}
    return parse_space(merged, f"{where}: spaces: {variant}")


def _trials(raw: Mapping[str, Any], sampler: str, space: Space, where: str) -> int:
    given = "trials" in raw
    if sampler != "grid":
        require(given, f"{where}: trials: is missing: how many settings to try of each variant")
        return _count(raw["trials"], f"{where}: trials")
    require(not given, f"{where}: trials: the grid has as many as its lists have combinations")
    for key, values in space.items():
        listed = isinstance(values, Choice)
        require(listed, f"{where}: space: {key}: a grid needs a list of values, not a range")
    size = math.prod(len(values.ends) for values in space.values())
    return _count(size, f"{where}: space: combinations of the grid")


def _check_keys(space: Space, halving: Halving | None, where: str) -> None:
    places = {key: f"{where}: space: {key}" for key in space}
    if halving:
        place = f"{where}: halving: budget: {halving.budget}"
        require(halving.budget not in space, f"{place}: is in the space too; choose one")
        places[halving.budget] = place
    for key, place in places.items():
        require(key not in AXES, f"{place}: the suite sets it for each run")
        own = any(key == name or key.startswith(f"{name}.") for name in _SET_BY_SSMBENCH)
        require(not own, f"{place}: does not change what a run computes")


def _one_of(value: Any, names: tuple[str, ...], where: str) -> str:
    require(value in names, f"{where}: unknown {value!r}: {suggest(str(value), names)}")
    return value


def _count(value: Any, where: str) -> int:
    return _whole(value, where, 1, _MOST, f"from 1 to {_MOST}")


def _whole(value: Any, where: str, low: int, high: int, words: str) -> int:
    usable = type(value) is int and low <= value <= high
    require(usable, f"{where}: must be a whole number {words}, got {value!r}")
    return value
