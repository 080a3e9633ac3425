"""Durations in configs: ``90 s``, ``30 min``, ``1.5 h``, ``2 d``."""

from __future__ import annotations

import math
import re

from ssmbench.errors import UsageError
from ssmbench.options import Allowed

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_PATTERN = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(_SECONDS)})\s*", re.ASCII)
_WORDS = "a positive duration, for example '30 min', '1.5 h' or '90 s'"
_LONGEST = 100 * 365 * 86400


def seconds(text: str) -> float:
    """The duration in seconds.

    Raises:
        UsageError: the text is no duration, or not a positive one.
    """
    found = _PATTERN.fullmatch(text)
    duration = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    if not 0 < duration <= _LONGEST:
        raise UsageError(f"must be {_WORDS}, got {text}")
    return duration


def _is_duration(value: str) -> bool:
    try:
        return seconds(value) > 0
    except UsageError:
        return False


DURATION = Allowed(_WORDS, _is_duration)
