"""Markers as SVG, the same in tables, in legends and, by plotly's names, in charts."""

from __future__ import annotations

from typing import Final

from ssmbench.report.html.markup import Markup, element

#: Paths about the origin, about ten pixels wide, by plotly's name of the symbol.
MARKERS: Final = {
    "circle": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z",
    "square": "M-4.4-4.4H4.4V4.4H-4.4Z",
    "diamond": "M0-6.2L6.2 0L0 6.2L-6.2 0Z",
    "triangle-up": "M0-5.6L5.6 4.4H-5.6Z",
    "x": "M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
    "triangle-down": "M0 5.6L5.6-4.4H-5.6Z",
    "cross": "M-1.6-5.6H1.6V-1.6H5.6V1.6H1.6V5.6H-1.6V1.6H-5.6V-1.6H-1.6Z",
    "pentagon": "M0-5.6L5.4-1.7L3.3 4.6H-3.3L-5.4-1.7Z",
    "star": "M0-6.4L1.6-2H6.1L2.5 .8L3.8 5.2L0 2.5L-3.8 5.2L-2.5 .8L-6.1-2H-1.6Z",
    "hourglass": "M-5-5.4H5L-5 5.4H5Z",
}
#: Marks of figures that are not a variant's.
FURTHER: Final = {
    "bound": "M-1.5-9H1.5V9H-1.5Z",  # a wall: what lies beyond it is promised not to happen
    "seed": "M2.6 0A2.6 2.6 0 1 1-2.6 0A2.6 2.6 0 1 1 2.6 0Z",
    "mean": "M-1-7H1V7H-1Z",
    "ring": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0ZM3 0A3 3 0 1 0-3 0A3 3 0 1 0 3 0Z",
    # Smaller than a circle, so that both are seen where an attack reaches the verified gain.
    "proved": "M0-4.4L4.4 0L0 4.4L-4.4 0Z",
    "unproved": "M0-5.4L5.4 0L0 5.4L-5.4 0ZM0-3L-3 0L0 3L3 0Z",
}


def definitions() -> Markup:
    """All symbols, invisible, for :func:`use` to show."""
    paths = (element("path", id=f"m-{n}", d=d) for n, d in {**MARKERS, **FURTHER}.items())
    return element("svg", element("defs", *paths), width=0, height=0, class_="hidden-text")


def use(symbol: str, x: str = "0", y: str = "0") -> Markup:
    """A defined symbol with its centre at a place of the SVG around it."""
    return element("use", href=f"#m-{symbol}", x=x, y=y)


def swatch(symbol: str, colour: str) -> Markup:
    """A symbol for a line of text; ``colour``: a class of the style sheet."""
    return element(
        "svg", use(symbol), viewBox="-7 -7 14 14", class_=f"swatch {colour}", aria_hidden="true"
    )
