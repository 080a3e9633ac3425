"""Declared bounds as dashed lines."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ssmbench.figures.chart import Bound, number
from ssmbench.figures.style import TEXT


def declared_bounds(
    declared: Mapping[str, float | None], colours: Mapping[str, str]
) -> tuple[Bound, ...]:
    """One line for each gain declared; it has the colour and the name of what declares it, if that
    is one of several. Gains that are zero, infinite or None have no line."""
    by_value: dict[float, list[str]] = {}
    for name, value in declared.items():
        if value is not None and 0 < value < math.inf:
            by_value.setdefault(value, []).append(name)
    single = len(by_value) > 1 or len(declared) > 1
    return tuple(_bound(value, names, colours, single) for value, names in by_value.items())


def _bound(value: float, names: list[str], colours: Mapping[str, str], single: bool) -> Bound:
    if len(names) > 1 or not single or not names[0]:
        return Bound(value, f"declared {number(value)}", TEXT)
    return Bound(value, f"declared {number(value)}, {names[0]}", colours.get(names[0], TEXT))
