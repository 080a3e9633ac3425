"""Numbers as text and as cells of a table."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_TIMES = "\u00d7"
_DIGITS = 4  # significant ones


def number(value: float | None) -> str:
    """Four significant digits without powers of ten from 0.001 to a million; ``inf`` for infinity
    and ``none`` for None."""
    if value is None:
        return "none"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return _plain(value)
    mantissa, exponent = f"{value:.{_DIGITS - 2}e}".split("e")
    return f"{mantissa}{_TIMES}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _plain(value: float) -> str:
    rounded = float(f"{value:.{_DIGITS}g}")
    if rounded == int(rounded):
        return f"{int(rounded):,}"
    return f"{rounded:,.{_decimals(rounded)}f}"


def _decimals(value: float) -> int:
    """How many decimals four significant digits of ``value`` have."""
    return max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))


def score(value: float | None) -> str:
    """As :func:`number`, with zeros at the end, so that scores stand under one another."""
    if value is None or not math.isfinite(value) or value == 0 or not 1e-3 <= abs(value) < 1e6:
        return number(value)
    return f"{value:,.{_decimals(value)}f}"


def with_spread(mean: float | None, spread: float | None) -> str:
    """A mean score and its standard deviation, in as many decimals."""
    if mean is None or spread is None:
        return score(mean)
    decimals = _decimals(mean) if mean and math.isfinite(mean) else _DIGITS
    return f"{score(mean)} ± {spread:,.{decimals}f}"


def tick(value: float) -> str:
    """The label of a round value on an axis."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}{_TIMES}{power}"


def count(number_of: int, noun: str) -> str:
    """The number with its noun: 1 run, 2 runs."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def memory(size: float | None) -> str:
    """Bytes as a reader has them: 512 MB, 1.5 GB."""
    if size is None:
        return "none"
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def duration(seconds: float | None) -> str:
    """A wall time: 12.3 s, 4.5 min, 1.2 h."""
    if seconds is None:
        return "none"
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
