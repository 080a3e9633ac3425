"""A section of the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmbench.report.html.markup import Markup, Part, element


@dataclass(frozen=True)
class Section:
    """``name`` is its address in the page; ``title`` also stands in the list of contents."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def markup(self) -> Markup:
        heading = element("h2", self.title, id=f"{self.name}-title")
        return element(
            "section", heading, *self.parts, id=self.name, aria_labelledby=f"{self.name}-title"
        )

    @property
    def link(self) -> Markup:
        return element("li", element("a", self.title, href=f"#{self.name}"))


def section(name: str, title: str, introduction: Part, parts: Iterable[Part]) -> Section | None:
    """The section, or none if there is nothing to show in it."""
    found = [part for part in parts if part]
    return Section(name, title, (introduction, *found)) if found else None


def note(*parts: Part) -> Markup:
    """A paragraph that explains, in smaller type."""
    return element("p", *parts, class_="note")


def sentences(texts: Iterable[str], kind: str = "note") -> Part:
    """A list of sentences; nothing without any."""
    items = [element("li", text) for text in texts]
    return element("ul", *items, class_=kind) if items else None


def charts(shown: Iterable[Markup]) -> Part:
    """Charts side by side where there is room; nothing without any."""
    found = list(shown)
    return element("div", *found, class_="charts") if found else None
