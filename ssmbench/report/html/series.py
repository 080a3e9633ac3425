"""Names, colours and markers of the variants, the same all over a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.symbols import MARKERS, swatch
from ssmbench.report.html.table import Cell

_COLOURS = 8  # of the style sheet
_SYMBOLS = tuple(MARKERS)


class Named(Protocol):
    """What belongs to one variant with one discretizer, "none" for one that needs none."""

    @property
    def variant(self) -> str: ...
    @property
    def discretizer(self) -> str: ...


@dataclass(frozen=True)
class Series:
    """A variant has a number and a colour. Markers tell discretizers apart where a variant has
    several, and variants of one colour; elsewhere each variant has its own."""

    variants: tuple[str, ...]
    discretizers: tuple[str, ...]
    by_discretizer: bool

    @classmethod
    def of(cls, all_of_them: Iterable[Named]) -> Series:
        """Those of a page, by name, so that a variant keeps its colour when scores change."""
        pairs = {(one.variant, one.discretizer) for one in all_of_them}
        variants = sorted({variant for variant, _ in pairs}, key=str.casefold)
        discretizers = sorted({discretizer for _, discretizer in pairs})
        return cls(tuple(variants), tuple(discretizers), len(pairs) > len(variants))

    def number(self, variant: str) -> int:
        return self.variants.index(variant)

    def colour(self, variant: str) -> str:
        return f"v{self.number(variant) % _COLOURS}"

    def symbol(self, one: Named) -> str:
        place = self.number(one.variant)
        if self.by_discretizer:
            place = place // _COLOURS + self.discretizers.index(one.discretizer)
        return _SYMBOLS[place % len(_SYMBOLS)]

    def label(self, one: Named) -> str:
        """As sentences and charts have it."""
        return one.variant if one.discretizer == "none" else f"{one.variant} ({one.discretizer})"

    def swatch(self, one: Named) -> Markup:
        return swatch(self.symbol(one), f"colour-{self.colour(one.variant)}")

    def name(self, one: Named) -> Cell:
        """The cell that names a row."""
        discretizer: Part = None
        if one.discretizer != "none":
            discretizer = element("small", one.discretizer)
        words = element("span", one.variant, " ", discretizer)
        return Cell(element("span", self.swatch(one), words, class_="name"))
