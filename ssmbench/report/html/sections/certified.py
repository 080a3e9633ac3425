"""Tables of what is certified: accuracy and radius of classes, largest changes of real outputs."""

from __future__ import annotations

from ssmbench.report.certified import NEAREST, CertifiedRow
from ssmbench.report.contents import TaskContents
from ssmbench.report.html.markup import Markup
from ssmbench.report.html.numbers import number, tick
from ssmbench.report.html.series import Series
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.tables import CERTIFIED_COLUMNS, CHANGE_COLUMNS, certified_scores

_RADIUS = (
    "The norm of a disturbance up to which half of the predictions are certified, relative to a "
    "typical input; a wrong prediction has radius 0."
)


def certified(task: TaskContents, series: Series) -> list[Markup]:
    """The table of a task, if anything is said of certificates there."""
    if not task.certified:
        return []
    if task.scale is not None and not task.scale.classifies:
        return [_changes(task, series)]
    return [_accuracy(task, series)]


def _name(row: CertifiedRow, series: Series) -> tuple[Cell, tuple[int, ...]]:
    """The cell that names a row, and the variants that it is about."""
    if row.variant == NEAREST:
        return Cell(row.variant), ()
    return series.name(row), (series.number(row.variant),)


def _accuracy(task: TaskContents, series: Series) -> Markup:
    scores = certified_scores((*task.robustness, *task.floor))
    columns = [Column("Variant"), Column("Median radius", "number", descending=True, help=_RADIUS)]
    columns += [Column(tick(energy), "number", descending=True) for energy in CERTIFIED_COLUMNS]
    columns.append(Column("None because", "words"))
    lines = []
    for row in task.certified:
        name, variants = _name(row, series)
        known = scores.get((row.variant, row.discretizer), {})
        shares = [known.get(energy) for energy in CERTIFIED_COLUMNS]
        cells = [figure(row.median_radius)]
        cells += [figure(s, None if s is None else f"{s:.4f}") for s in shares]
        lines.append(Line(name, (*cells, Cell(row.reason)), variants))
    return table(f"{task.name}: certified accuracy", columns, lines)


def _changes(task: TaskContents, series: Series) -> Markup:
    unit = next((f" [{row.unit}]" for row in task.certified if row.unit), "")
    columns = [Column("Variant"), Column("Output", "words")]
    columns += [Column(tick(energy), "number") for energy in CHANGE_COLUMNS]
    lines = []
    for row in task.certified:
        name, variants = _name(row, series)
        for index, change in enumerate(row.largest_changes):
            cells = (figure(energy * change, number(energy * change)) for energy in CHANGE_COLUMNS)
            lines.append(Line(name, (Cell(f"{index + 1}"), *cells), variants))
        if not row.largest_changes:
            none = (figure(None) for _ in CHANGE_COLUMNS)
            lines.append(Line(name, (Cell(f"none: {row.reason}"), *none), variants))
    return table(f"{task.name}: certified largest change of each output{unit}", columns, lines)
