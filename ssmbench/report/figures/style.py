"""Colours, markers, legend entries and axis labels that all figures of a report share, beside
those of :mod:`ssmbench.figures.style`."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.lines import Line2D

from ssmbench.figures.style import colours_for
from ssmbench.report.statistics import Row

_MARKERS = "osD^vPX*<>"


def colours_of(table: Iterable[Row]) -> dict[str, str]:
    """One colour per variant, the same in every figure of a report."""
    return colours_for(row.variant for row in table)


def markers_of(table: Iterable[Row]) -> dict[str, str]:
    """One marker per discretizer, the same in every figure of a report."""
    names = dict.fromkeys(row.discretizer for row in table)
    return {d: _MARKERS[i % len(_MARKERS)] for i, d in enumerate(names)}


def keys_of(colours: dict[str, str], markers: dict[str, str]) -> list[Line2D]:
    keys = [Line2D([], [], color=c, marker="s", ls="", label=v) for v, c in colours.items()]
    return keys + [
        Line2D([], [], color="black", marker=m, ls="", mfc="none", label=d)
        for d, m in markers.items()
    ]


def with_unit(row: Row) -> str:
    """The label of an axis of test scores."""
    return f"test {row.metric}" + (f" [{row.unit}]" if row.unit else "")
