"""Charts that the page's script draws with plotly when they come into view."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssmbench.report.html.markup import Markup, element, json_block
from ssmbench.report.html.numbers import tick
from ssmbench.report.html.series import Named, Series
from ssmbench.report.html.strip import Axis

_MARGIN = {"l": 56, "r": 14, "t": 12, "b": 46}


def chart(
    title: str,
    alternative: str,
    traces: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any],
    legend: Markup | None = None,
    *,
    height: int = 320,
) -> Markup:
    """A figure with its title, a text for those who cannot see it, and a legend.

    ``traces`` and ``axes`` are plotly's; a colour is the name of one of the style sheet's. A trace
    with ``meta`` belongs to the variant of that number.
    """
    layout = {"height": height, "margin": _MARGIN, "showlegend": False, "hovermode": "closest"}
    spec = {"data": traces, "layout": {**layout, **axes}}
    wait = element("span", "Charts need JavaScript; the tables hold their figures.")
    plot = element(
        "div",
        element("div", wait, class_="without-script"),
        class_="plot",
        role="img",
        aria_label=alternative,
        style=f"height:{height}px",
    )
    return element(
        "figure", element("figcaption", title), plot, legend, json_block(spec), class_="chart"
    )


def axis(title: str, **options: Any) -> dict[str, Any]:
    """An axis in the page's manner: ticks outside, lines that the script colours."""
    return {
        "title": {"text": plain(title), "standoff": 6},
        "automargin": True,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        **options,
    }


def ticks(ends: tuple[float, float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis from one end to the other: a few, as plain numbers."""
    values = Axis(*ends, logarithmic=True, infinite=False).ticks
    return {"tickvals": values, "ticktext": [tick(value) for value in values]}


def legend(series: Series, shown: Iterable[Named]) -> Markup:
    """Whose marks are in a chart."""
    unique = {(one.variant, one.discretizer): one for one in shown}
    items = (
        element("li", series.name(one).shown, data_v=series.number(one.variant))
        for one in sorted(unique.values(), key=lambda one: series.label(one).casefold())
    )
    return element("ul", *items, class_="legend")


def plain(text: str) -> str:
    """``text`` as plotly shows it letter by letter, which else takes tags for markup."""
    return html.escape(text, quote=False)
