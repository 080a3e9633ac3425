"""What the runs took: speed, time, memory, energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.html.markup import Markup, element
from ssmbench.report.html.numbers import duration, memory, number
from ssmbench.report.html.section import Section, note, section
from ssmbench.report.html.series import Series
from ssmbench.report.html.strip import Axis, Mark
from ssmbench.report.html.table import Cell, Column, Line, figure, table
from ssmbench.report.statistics import Row

_INTRODUCTION = (
    "Means over the runs of a variant, the largest of the peaks of memory. Speeds compare only "
    "where the runs had the same machine to themselves; see the provenance below."
)


def costs(contents: Contents, series: Series) -> Section | None:
    """A table for each task."""
    tables = [_table(task, series) for task in contents.tasks if _known(task.rows)]
    return section("costs", "Speed, memory, energy", note(_INTRODUCTION), tables)


def _known(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.parameters is not None]


def _energy(joules: float | None) -> str:
    return "none" if joules is None else f"{number(joules)} J"


_FIGURES: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("steps_per_second", "Steps/s", number),
    ("seconds", "Time of a run", duration),
    ("peak_memory", "Peak memory", memory),
    ("peak_gpu_memory", "Peak GPU memory", memory),
    ("energy", "Energy of a run", _energy),
)


def _table(task: TaskContents, series: Series) -> Markup:
    rows = _known(task.rows)
    axis = Axis.of([0.0, *(row.steps_per_second for row in rows)])
    present = [one for one in _FIGURES if any(getattr(row, one[0]) is not None for row in rows)]
    columns = [
        Column("Variant"),
        Column(element("span", "Optimizer steps per second", axis.header), "strip", sortable=False),
        *(Column(title, "number", name == "steps_per_second") for name, title, _ in present),
        Column("Parameters", "number"),
    ]
    lines = [
        Line(
            series.name(row),
            (
                Cell(_strip(row, axis)),
                *(_figure(getattr(row, name), text) for name, _, text in present),
                Cell(f"{row.parameters:,}", row.parameters, ordered=True),
            ),
            (series.number(row.variant),),
        )
        for row in rows
    ]
    devices = {row.energy_of for row in rows if row.energy_of}
    measured = f"; energy of {', '.join(sorted(devices))}" if devices else ""
    return table(f"{task.name}{measured}", columns, lines)


def _figure(value: float | None, text: Callable[[float | None], str]) -> Cell:
    return figure(value, text(value))


def _strip(row: Row, axis: Axis) -> Markup:
    speed = row.steps_per_second
    if speed is None:
        return axis.strip([])
    return axis.strip([Mark(speed, "circle", "mark-verified", f"{number(speed)}")], (0.0, speed))
