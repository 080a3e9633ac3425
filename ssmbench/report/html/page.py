"""The report as one HTML file that needs no network."""

from __future__ import annotations

from importlib.resources import files
from string import Template

from ssmbench.report.contents import Contents
from ssmbench.report.html import embedded
from ssmbench.report.html.headline import lead
from ssmbench.report.html.markup import Markup, Part, element, joined
from ssmbench.report.html.section import Section
from ssmbench.report.html.sections.against import against
from ssmbench.report.html.sections.comparisons import comparisons
from ssmbench.report.html.sections.costs import costs
from ssmbench.report.html.sections.curves import further, robustness
from ssmbench.report.html.sections.failures import failures
from ssmbench.report.html.sections.gains import gains
from ssmbench.report.html.sections.leaderboard import leaderboard
from ssmbench.report.html.sections.measures import measures
from ssmbench.report.html.sections.over_tasks import over_tasks
from ssmbench.report.html.sections.provenance import provenance
from ssmbench.report.html.sections.published import published
from ssmbench.report.html.sections.trade_off import trade_off
from ssmbench.report.html.series import Series
from ssmbench.report.html.symbols import definitions, swatch

#: In the order in which a reader asks.
_SECTIONS = (
    *(
        leaderboard,
        gains,
        measures,
        trade_off,
        against,
        comparisons,
        over_tasks,
        robustness,
        further,
    ),
    *(costs, failures, published, provenance),
)


def page(contents: Contents) -> str:
    """The report of a suite: tables as plain HTML, charts drawn by plotly in the file itself.

    The page's Content-Security-Policy forbids every request, and every script but its own two.
    """
    series = Series.of(contents.rows)
    sections = [found for make in _SECTIONS if (found := make(contents, series))]
    script = _asset("script.js")
    packed, plotly_allowed = embedded.plotly()
    return Template(_asset("page.html")).substitute(
        policy=_policy(embedded.allowed(script.encode()), plotly_allowed),
        title=joined([contents.name]),
        style=_asset("style.css"),
        symbols=definitions(),
        lead=lead(contents, series),
        links=joined(one.link for one in sections),
        controls=_controls(series),
        sections=_joined(sections),
        plotly=packed,
        script=script,
    )


def _asset(name: str) -> str:
    return (files("ssmbench.report.html") / "assets" / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(scripts)}",
            "style-src 'unsafe-inline'",  # plotly sets styles of its elements
            "img-src data: blob:",  # a chart saved as a picture
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _joined(sections: list[Section]) -> Markup:
    return Markup("\n".join(one.markup for one in sections))


def _controls(series: Series) -> Part:
    """The choice of variants, where there is one."""
    if len(series.variants) < 2:
        return None
    boxes = (
        element(
            "label",
            element("input", type="checkbox", value=place, checked=True, autocomplete="off"),
            element("span", swatch("square", f"colour-{series.colour(variant)}")),
            element("span", variant),
        )
        for place, variant in enumerate(series.variants)
    )
    both = (element("button", text, type="button", value=text.lower()) for text in ("All", "None"))
    summary = element("summary", "Variants shown")
    inner = element("div", *boxes, element("div", *both, class_="both"), class_="variants")
    return element("details", summary, inner, class_="control", open=True)
