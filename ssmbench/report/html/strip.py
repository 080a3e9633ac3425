"""Marks on an axis within a table's cell, as SVG: visible at once, in every width and mode."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ssmbench.report.html.markup import Markup, element
from ssmbench.report.html.numbers import tick
from ssmbench.report.html.symbols import use

_MARGIN = 3.0  # percent of the width that stays free at either end
_INFINITE = 14.0  # percent at the right end for infinite values, where there are some


@dataclass(frozen=True)
class Mark:
    """A symbol at a value; ``kind``: a class of the style sheet; ``title``: what it says."""

    value: float
    symbol: str
    kind: str
    title: str


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, logarithmic or not, with a place for infinity at the right."""

    low: float
    high: float
    logarithmic: bool
    infinite: bool

    @classmethod
    def of(cls, values: Iterable[float | None], *, logarithmic: bool = False) -> Axis:
        """One that holds all of these values; None among them is no value."""
        known = [v for v in values if v is not None and not math.isnan(v)]
        finite = [v for v in known if math.isfinite(v) and (v > 0 or not logarithmic)] or [1.0]
        low, high = min(finite), max(finite)
        if not low < high:
            low, high = (low / 2, high * 2) if logarithmic else (low - 0.5, high + 0.5)
        return cls(low, high, logarithmic, any(math.isinf(v) for v in known))

    def place(self, value: float) -> float:
        """In percent of the width; values above the axis are between its end and infinity."""
        if value > self.high and self.infinite:
            return 100 - _MARGIN - (0 if math.isinf(value) else _INFINITE / 2)
        start, end = _MARGIN, 100 - _MARGIN - (_INFINITE if self.infinite else 0)
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(start + (end - start) * (value - low) / (high - low), 2)

    @property
    def ticks(self) -> list[float]:
        """At most five round values within the axis."""
        if not self.logarithmic:
            return _round_steps(self.low, self.high)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        if last - first >= 2:
            every = math.ceil((last - first + 1) / 5)
            return [10.0**power for power in range(first, last + 1, every)]
        factors = (1, 2, 5) if self.high < 30 * self.low else (1,)
        steps = (m * 10.0**e for e in range(first - 1, last + 1) for m in factors)
        return [v for v in steps if self.low <= v <= self.high][:5]

    @property
    def header(self) -> Markup:
        """The labels of the ticks, for the header of the column."""
        labels = [(self.place(v), tick(v)) for v in self.ticks]
        if self.infinite:
            labels.append((self.place(math.inf), "inf"))
        spans = (element("span", text, style=f"left:{place}%") for place, text in labels)
        return element("span", *spans, class_="axis", aria_hidden="true")

    def strip(self, marks: Iterable[Mark], span: tuple[float, float] | None = None) -> Markup:
        """The marks at their values over lines at the ticks; ``span``: a bar between two values."""
        marks = list(marks)
        lines = [_grid(self.place(v)) for v in self.ticks]
        if span:
            lines.append(_bar(self.place(span[0]), self.place(span[1])))
        uses = [_symbol(self.place(mark.value), mark) for mark in marks]
        words = "; ".join(mark.title for mark in marks) or "no figure"
        return element("svg", *lines, *uses, role="img", aria_label=words)


def _round_steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return [round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _grid(place: float) -> Markup:
    return element("line", x1=f"{place}%", x2=f"{place}%", y1="0", y2="100%", class_="grid")


def _bar(start: float, end: float) -> Markup:
    return element("line", x1=f"{start}%", x2=f"{end}%", y1="50%", y2="50%", class_="range")


def _symbol(place: float, mark: Mark) -> Markup:
    title = element("title", mark.title)
    return element("g", title, use(mark.symbol, f"{place}%", "50%"), class_=mark.kind)
