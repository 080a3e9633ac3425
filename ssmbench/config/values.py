"""Checks of the values in a run config: given, finite and allowed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import MISSING

from ssmbench.config.components import schemas_of
from ssmbench.config.layers import leaves
from ssmbench.errors import UsageError, require
from ssmbench.options import Allowed, declared


def check_given(config: Mapping[str, Any], source: str) -> None:
    """Refuse the value ``???``, which OmegaConf would replace by the default."""
    for path, value in leaves(config):
        missing = value == MISSING or (isinstance(value, list) and MISSING in value)
        require(not missing, f"{source}: {path}: is {MISSING!r}; a value must be given")


def check_values(config: Mapping[str, Any], source: str) -> None:
    """Raise a UsageError unless every number is finite and every value allowed by its option."""
    allowed = _allowed(config)
    for path, value in leaves(config):
        for number in _numbers(value):
            if isinstance(number, float) and not math.isfinite(number):
                word = "NaN" if math.isnan(number) else "infinite"
                raise UsageError(f"{source}: {path}: is {word}; must be a finite number")
        for limit in allowed.get(path, ()) if value is not None else ():
            require(limit.test(value), f"{source}: {path}: {limit.problem(value)}")


def _allowed(config: Mapping[str, Any]) -> dict[str, tuple[Allowed, ...]]:
    """The allowed values of each option that states them, by dotted path."""
    return {
        prefix + name: allowed
        for prefix, schema in schemas_of(config).items()
        for name, allowed in declared(schema).items()
    }


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in a value, including those in lists and mappings."""
    if isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, Mapping):
        for _, inner in leaves(value):
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
