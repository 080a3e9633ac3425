"""The critical-difference diagram: average ranks, and groups that the tasks cannot tell apart."""

from __future__ import annotations

from ssmbench.report.html.markup import Markup, Part, element
from ssmbench.report.html.series import Series
from ssmbench.report.over_tasks import CriticalDifference

_WIDTH, _LEFT, _RIGHT = 720, 190, 530  # of the drawing, and where its axis begins and ends
_ROW, _TOP, _GAP = 22, 52, 11  # heights of a name's row, above the axis, of a group's bar


def ranks(about: CriticalDifference, series: Series) -> Markup:
    """The diagram as Demšar (2006) draws it, the best rank at the left."""
    heading = (
        f"Average ranks over {about.tasks} tasks; bars join variants whose ranks differ by less "
        f"than the critical difference {about.difference:.2f} (Nemenyi, 0.05); Friedman test: "
        f"p = {about.friedman_p:.2g}"
    )
    drawing = _Drawing(about, series)
    svg = element(
        "svg",
        *drawing.scale,
        *drawing.names,
        *drawing.groups,
        viewBox=f"0 0 {_WIDTH} {drawing.height}",
        width=_WIDTH,
        height=drawing.height,
        class_="diagram",
        role="img",
        aria_label=heading,
    )
    box = element("div", svg, class_="scroll", tabindex=0, role="region", aria_label="Ranks")
    caption = element("figcaption", "Critical-difference diagram", element("small", heading))
    return element("figure", caption, box, class_="ranks")


class _Drawing:
    def __init__(self, about: CriticalDifference, series: Series) -> None:
        self._about, self._series = about, series
        self._order = sorted(range(len(about.ranks)), key=lambda place: about.ranks[place])
        self._half = (len(self._order) + 1) // 2
        self._names_from = _TOP + 14 + _GAP * len(about.groups)
        self.height = self._names_from + _ROW * self._half + 8

    def _x(self, rank: float) -> float:
        share = (rank - 1) / max(1, len(self._order) - 1)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    @property
    def scale(self) -> list[Markup]:
        """The axis of ranks, and the critical difference above it."""
        parts = [_line(_LEFT, _TOP, _RIGHT, _TOP)]
        for rank in range(1, len(self._order) + 1):
            x = self._x(rank)
            parts += [_line(x, _TOP - 5, x, _TOP), _text(x, _TOP - 9, str(rank), "middle")]
        end = min(self._x(1 + self._about.difference), _WIDTH - 10)
        parts += [_line(_LEFT, 16, end, 16, 3), _text(end + 8, 20, "critical difference", "start")]
        return parts

    @property
    def names(self) -> list[Markup]:
        """A line from each rank down to a name, the better half at the left."""
        parts: list[Markup] = []
        for place, index in enumerate(self._order):
            left = place < self._half
            row = place if left else len(self._order) - 1 - place
            y, x = self._names_from + _ROW * (row + 0.5), self._x(self._about.ranks[index])
            end = _LEFT - 12 if left else _RIGHT + 12
            text = f"{self._label(index)}  {self._about.ranks[index]:.2f}"
            anchor = ("end", -5) if left else ("start", 5)
            parts += [
                _line(x, _TOP, x, y),
                _line(x, y, end, y),
                _text(end + anchor[1], y + 4, text, anchor[0]),
            ]
        return parts

    @property
    def groups(self) -> list[Markup]:
        parts = []
        for place, group in enumerate(self._about.groups):
            xs = [self._x(self._about.ranks[index]) for index in group]
            y = _TOP + 12 + _GAP * place
            parts.append(_line(min(xs) - 4, y, max(xs) + 4, y, 4))
        return parts

    def _label(self, index: int) -> str:
        variant, discretizer = self._about.variants[index]
        return variant if discretizer == "none" else f"{variant} ({discretizer})"


def _line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> Markup:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", stroke_width=width, **ends)


def _text(x: float, y: float, text: Part, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor)
