"""What a figure shows, as plain values that :mod:`drawing` and :mod:`interactive` draw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

Limits = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points (x, y), joined by a line or not; ``band``: lower and upper edge of a shaded area.

    Series with the same label have the same colour in all panels, and one entry in the legend; ""
    gives none. ``unstable`` points are crosses. ``strength`` is the opacity. ``about``: what a
    page shows of the series under the pointer, if that is not the label.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    joined: bool = True
    unstable: bool = False
    strength: float = 1.0
    style: str = "-"
    band: tuple[np.ndarray, np.ndarray] | None = None
    marks: bool = False
    about: str = ""


@dataclass(frozen=True)
class Bound:
    """A dashed horizontal line with its label."""

    value: float
    label: str
    colour: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``notes`` stand below the title, ``alerts`` too, in red; where there is no
    series they are all that is shown."""

    title: str
    xlabel: str = ""
    ylabel: str = ""
    series: tuple[Series, ...] = ()
    bounds: tuple[Bound, ...] = ()
    notes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    xlog: bool = False
    ylog: bool = False
    xlim: Limits | None = None
    ylim: Limits | None = None
    unit_circle: bool = False

    @property
    def is_empty(self) -> bool:
        return not any(np.isfinite(s.y).any() for s in self.series)


@dataclass(frozen=True)
class Chart:
    """Panels in rows of ``columns``; None: as many as give a compact page. ``notes`` are of the
    whole chart, and stand below its title."""

    title: str
    panels: tuple[Panel, ...] = field(default=())
    columns: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The entries of the legend, in the order of the series."""
        named = (s.label for panel in self.panels for s in panel.series if s.label)
        return list(dict.fromkeys(named))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        count = max(1, len(self.panels))
        columns = min(count, self.columns or (3 if count != 4 else 2))
        return -(-count // columns), columns


def wide(*groups: Iterable[float] | np.ndarray, decades: float = 1.0) -> bool:
    """Whether positive numbers span so many decades that a logarithmic axis shows them better."""
    values = np.concatenate([np.ravel(np.asarray(group, dtype=float)) for group in groups] or [[]])
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return False
    return bool(np.log10(values.max()) - np.log10(values.min()) >= decades)


def number(value: float) -> str:
    """A value in a label: "1.23", "infinite"."""
    if np.isnan(value):
        return "not a number"
    return "infinite" if np.isinf(value) else f"{value:.4g}"
