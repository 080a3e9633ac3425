"""The tables of a report, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.report.collect import RunRecord
from ssmbench.report.published import PublishedRow, published_rows
from ssmbench.report.statistics import (
    FurtherRow,
    RobustnessRow,
    Row,
    SeedScore,
    further_rows,
    robustness_rows,
    rows,
)

LEGEND = """\
Gains are L2 gains. *Layer* gains are from the input to the output of one SSM layer, the largest
over the layers and seeds: **declared** is the bound that the parametrization guarantees (none: no
guarantee), **verified** is the H-infinity norm of the trained matrices, proved to 1% or marked as
unproved (none if they depend on the input), **attacked** is the largest gain that an adversary
found for the layer in its own precision, on sequences of the task's length. declared >= verified >=
attacked must hold.
*Network* gains are incremental, from the input sequence to the prediction: **declared** by
`model.gamma`, an upper **bound** composed from the verified layers, and **attacked**. `inf` means
unstable. Scores are on the test split, mean and standard deviation over finished seeds.
"""

SAMPLING_LEGEND = """\
Variants whose *continuous* system has a prescribed gain. **promised**: that gain. **verified**: the
largest gain of the sampled systems, over layers and seeds. A discretizer either preserves every
such bound or it does not; in the latter case the trained systems may still satisfy the bound.
"""

ROBUSTNESS_LEGEND = """\
Score on the first test sequences when every input sequence is disturbed. Columns: l2 norm of the
disturbance relative to that of a typical input. **random**: Gaussian directions.
**adversarial**: gradient ascent on the task's loss. `none`: a prediction was not finite.
"""

PUBLISHED_LEGEND = """\
As the publications report them on this test data; none was run here. **Selected on**: the part of
the data on which the publication chose weights and options. What was chosen on test data is not a
score of unseen data.
"""


FURTHER_LEGEND = """\
Scores of the same weights where one quantity differs from the training: the **length factor** of
the test sequences, or the **share dropped** of their samples. In brackets: the largest norm of an
SSM layer's state relative to that on the test set, over layers and seeds. `diverged`: in how many
runs a prediction or a state was not finite.
"""


def refusals_text(refused: list[dict[str, str]]) -> str:
    """The combinations that ``discretizers: all`` left out, one line per reason."""
    if not refused:
        return ""
    names: dict[str, list[str]] = {}
    for item in refused:
        pair = f"{item['variant']} with {item['discretizer']}"
        names.setdefault(item["reason"], []).append(pair)
    lines = [f"- {', '.join(pairs)}: {reason}" for reason, pairs in names.items()]
    return "\n## Refused\n\n" + "\n".join(lines) + "\n"


def to_csv(table: Iterable[Any], kind: type = Row) -> str:
    """All figures, unrounded, as CSV; ``none`` stands for a missing figure."""
    out = io.StringIO()
    writer = csv.writer(out)
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for row in table:
        values = (getattr(row, name) for name in names)
        writer.writerow(["none" if v is None else _flat(v) for v in values])
    return out.getvalue()


def _flat(value: Any) -> Any:
    text = "; ".join(map(_item, value)) if isinstance(value, tuple) else value
    return "none" if text == "" else text


def _item(value: Any) -> str:
    if not isinstance(value, SeedScore):
        return str(value)
    return f"{value.seed}: {value.outcome if value.score is None else value.score}"


def to_markdown(name: str, records: list[RunRecord], images: Iterable[str] = ()) -> str:
    """The report as a Markdown page."""
    table, curves, more = rows(records), robustness_rows(records), further_rows(records)
    published = published_rows(records)
    parts = [f"# {name}\n", LEGEND]
    for task in dict.fromkeys(row.task for row in table):
        mine = [row for row in table if row.task == task]
        parts.append(f"## {task}\n\n{source_line(records, task)}\n")
        parts.append(markdown_table(mine))
        sampled = [row for row in mine if row.promised is not None and row.verified is not None]
        if sampled:
            parts += [f"### Gain before and after sampling: {task}\n", SAMPLING_LEGEND]
            parts.append(sampling_table(sampled))
        reported = [row for row in published if row.task == task]
        if reported:
            parts += [f"### Published: {task}\n", PUBLISHED_LEGEND, published_table(reported)]
        points = [point for point in curves if point.task == task]
        if points:
            parts += [f"### Robustness: {task}\n", ROBUSTNESS_LEGEND, robustness_table(points)]
        others = [row for row in more if row.task == task]
        if others:
            parts += [f"### Longer and irregular tests: {task}\n", FURTHER_LEGEND]
            parts += map(further_table, _by_quantity(others))
    found = [f"- {r.task}, {r.variant}, {r.discretizer}: {v}" for r in table for v in r.violations]
    notes = [f"- {r.task}, {r.variant}, {r.discretizer}: {note_text(r)}" for r in table if r.note]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(notes) + "\n")
    if found:
        parts.append("## Violated bounds\n\n" + "\n".join(found) + "\n")
    parts += [f"![{image}]({image})\n" for image in images]
    return "\n".join(parts)


def source_line(records: list[RunRecord], task: str) -> str:
    """A sentence on the metric of a task, the source of its data, and the device of the speed."""
    results = [r.result for r in records if r.task == task and r.result]
    if not results:
        return "No run is complete."
    about, where = results[0].task, results[0].environment
    better = "higher" if about.higher_is_better else "lower"
    unit = f" [{about.unit}]" if about.unit else ""
    trivial = ", ".join(f"{name} {value:.4g}" for name, value in (about.baselines or {}).items())
    return (
        f"Score: {about.metric}{unit}, {better} is better. Data: {about.source}. "
        + (f"Without learning: {trivial}. " if trivial else "")
        + f"Speed: optimizer steps per second on {where.device}, "
        f"{where.threads} thread(s) per run."
    )


#: Column titles, each with a function from a row to the text of its cell; no cell is empty.
COLUMNS = {
    "variant": lambda r: r.variant,
    "discretizer": lambda r: r.discretizer,
    "score": lambda r: score_text(r),
    "declared": lambda r: number(r.declared),
    "verified": lambda r: number(r.verified) + _mark(r, "verified"),
    "attacked": lambda r: number(r.attacked),
    "radius": lambda r: radius_text(r.spectral_radius) + _mark(r, "spectral_radius"),
    "network declared": lambda r: number(r.network_declared),
    "network bound": lambda r: number(r.network_bound),
    "network attacked": lambda r: number(r.network_attacked),
    "parameters": lambda r: "none" if r.parameters is None else f"{r.parameters}",
    "steps/s": lambda r: number(r.steps_per_second),
}


def _mark(row: Row, figure: str) -> str:
    return " (unproved)" if figure in row.unproved else ""


def markdown_table(table: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    return _markdown(COLUMNS, [[cell(row) for cell in COLUMNS.values()] for row in table])


#: For variants whose continuous system has a prescribed gain: does sampling preserve it?
SAMPLING_COLUMNS = {
    "variant": lambda r: r.variant,
    "discretizer": lambda r: r.discretizer,
    "the bound is": lambda r: "kept" if r.verified <= r.promised * (1 + TOLERANCE) else "violated",
    "promised": lambda r: number(r.promised),
    "verified": lambda r: number(r.verified),
    "verified / promised": lambda r: number(r.verified / r.promised),
}


def sampling_table(table: Iterable[Row]) -> str:
    """One line per variant and discretizer: the gain promised before sampling and that after."""
    columns = SAMPLING_COLUMNS.values()
    return _markdown(SAMPLING_COLUMNS, [[cell(row) for cell in columns] for row in table])


#: Scores of publications.
PUBLISHED_COLUMNS = {
    "published model": lambda r: r.model,
    "test set": lambda r: r.test_set,
    "selected on": lambda r: r.selected_on,
    "source": lambda r: f"{r.source} ({r.note})" if r.note else r.source,
    "score": lambda r: f"{r.score:.4f}",
}


def published_table(table: Iterable[PublishedRow]) -> str:
    """One line for each published score."""
    cells = [[cell(row) for cell in PUBLISHED_COLUMNS.values()] for row in table]
    return _markdown(PUBLISHED_COLUMNS, cells, words=4)


def robustness_table(points: Iterable[RobustnessRow]) -> str:
    """One line per variant, discretizer and kind of disturbance; one column per energy."""
    lines: dict[tuple[str, str, str], dict[float, str]] = {}
    for point in points:
        line = lines.setdefault((point.variant, point.discretizer, point.kind), {})
        line[point.energy] = _mean_and_spread(point) or "none"
    energies = sorted({energy for line in lines.values() for energy in line})
    header = ["variant", "discretizer", "disturbance", *(f"{energy:g}" for energy in energies)]
    cells = [[*key, *(line.get(e, "none") for e in energies)] for key, line in lines.items()]
    return _markdown(header, cells)


def _by_quantity(further: list[FurtherRow]) -> list[list[FurtherRow]]:
    quantities = dict.fromkeys(row.quantity for row in further)
    return [[row for row in further if row.quantity == quantity] for quantity in quantities]


def further_table(further: list[FurtherRow]) -> str:
    """One line per variant and discretizer; one column per value of the quantity."""
    lines: dict[tuple[str, str, str], dict[float, str]] = {}
    for row in further:
        line = lines.setdefault((row.variant, row.discretizer, row.quantity), {})
        line[row.value] = further_text(row)
    values = sorted({value for line in lines.values() for value in line})
    header = ["variant", "discretizer", "quantity", *(f"{value:g}" for value in values)]
    cells = [[*key, *(line.get(v, "none") for v in values)] for key, line in lines.items()]
    return _markdown(header, cells)


def further_text(row: FurtherRow) -> str:
    """``0.9654 ± 0.0042 (1.03)``, or how many runs diverged."""
    score = _mean_and_spread(row) or "none"
    if row.diverged:
        return f"{score} (diverged: {row.diverged} of {row.runs})"
    return f"{score} ({number(row.state_norm)})"


def _markdown(header: Iterable[str], table: Iterable[Iterable[str]], words: int = 3) -> str:
    """A table whose first ``words`` columns are words."""
    header = list(header)
    rule = "|" + " --- |" * words + " ---: |" * (len(header) - words)
    lines = ["| " + " | ".join(header) + " |", rule]
    for row in table:
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def note_text(row: Row) -> str:
    """The note on the gain of time-varying layers, with the gain at sampled times."""
    return f"{row.note}; largest at sampled times: {number(row.frozen)} (no certificate)"


def score_text(row: Row) -> str:
    """``0.9654 ± 0.0042``, followed by the outcomes of the runs that did not finish."""
    note = "" if row.outcome == "finished" else f" ({row.outcome})"
    score = _mean_and_spread(row)
    return row.outcome if score is None else score + note


def _mean_and_spread(row: Row | RobustnessRow | FurtherRow) -> str | None:
    if row.score_mean is None:
        return None
    spread = "" if row.score_spread is None else f" ± {row.score_spread:.4f}"
    return f"{row.score_mean:.4f}{spread}"


def number(value: float | None) -> str:
    """Four significant digits; ``inf`` for infinity and ``none`` for None."""
    if value is None:
        return "none"
    return "inf" if math.isinf(value) else f"{value:.4g}"


def radius_text(radius: float | None) -> str:
    """Six decimals, enough to see on which side of 1 a radius lies."""
    if radius is None:
        return "none"
    return "inf" if math.isinf(radius) else f"{radius:.6f}"
