"""What chooses among the weights of a run: the score in validation, or a certified one."""

from __future__ import annotations

import math
import re

from ssmbench.options import Allowed

_PATTERN = re.compile(r"certified@(\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+)", re.ASCII)


def certified_energy(select: str) -> float | None:
    """The energy E of ``certified@E``; None for ``score``."""
    found = _PATTERN.fullmatch(select)
    return float(found[1]) if found else None


def _is_selection(value: str) -> bool:
    energy = certified_energy(value)
    return value == "score" if energy is None else 0 < energy < math.inf


SELECTION = Allowed(
    "score, or certified@E with the energy E of a disturbance relative to a typical input, for "
    "example certified@0.03",
    _is_selection,
)
