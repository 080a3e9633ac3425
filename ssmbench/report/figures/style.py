"""Colours, markers, legend entries and axis labels that all figures of a report share."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ssmbench.report.statistics import Row

_MARKERS = "osD^vPX*<>"
_FINELY_LABELLED = 1e3  # ratio of the limits of an axis up to which 2 and 5 have labels too


def colours_of(table: Iterable[Row]) -> dict[str, str]:
    """One colour per variant, the same in every figure of a report."""
    return {v: f"C{i % 10}" for i, v in enumerate(dict.fromkeys(row.variant for row in table))}


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


def label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis, whose limits are set, with plain numbers instead of powers of ten.

    Beyond three decades only powers of ten have a label, because more labels would overlap.
    """
    low, high = axis.get_view_interval()
    steps = (1, 2, 5) if high <= _FINELY_LABELLED * low else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
