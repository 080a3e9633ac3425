"""Colours, line styles and axis labels that all figures share."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

#: Distinct also for colour-blind readers and in grey print (Okabe & Ito), without red and yellow:
#: red is for what is unstable.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#7A5195",
    "#8C6D31",
    "#6E6E6E",
)
UNSTABLE = "#C1121F"
EARLIER = "#9AA5B1"
TEXT = "#222222"

#: Of the first eight labels, the next eight and so on. Dashed lines are bounds.
STYLES = ("-", "-.", ":")

_FINELY_LABELLED = 1e3  # ratio of the limits of an axis up to which 2 and 5 have labels too


def colours_for(names: Iterable[str]) -> dict[str, str]:
    """One colour per name, in the order of first appearance."""
    return {n: PALETTE[i % len(PALETTE)] for i, n in enumerate(dict.fromkeys(names))}


def styles_for(names: Iterable[str]) -> dict[str, str]:
    """One line style per name, which differs where the colours repeat."""
    unique = enumerate(dict.fromkeys(names))
    return {name: STYLES[i // len(PALETTE) % len(STYLES)] for i, name in unique}


def label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis, whose limits are set, with plain numbers instead of powers of ten.

    Beyond three decades only powers of ten have a label, because more labels would overlap; beyond
    six they are written as powers.
    """
    low, high = axis.get_view_interval()
    steps = (1, 2, 5) if high <= _FINELY_LABELLED * low else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    if low >= 1e-4 and high <= 1e6:
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
