"""The tables of a report: titles and cells of their columns, and their form in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.report.against import Against, AgainstRow
from ssmbench.report.certified import NEAREST, CertifiedRow
from ssmbench.report.comparisons import Comparison
from ssmbench.report.curves import FurtherRow, RobustnessRow
from ssmbench.report.history import Failure
from ssmbench.report.measures import MeasureRow
from ssmbench.report.over_tasks import OverTasks
from ssmbench.report.published import PublishedRow
from ssmbench.report.statistics import Row
from ssmbench.report.texts import (
    NONE,
    duration_text,
    energy_text,
    further_text,
    interval_text,
    learned_text,
    memory_text,
    number,
    radius_text,
    score_text,
    seeds_text,
)

#: Column titles, each with a function from a row to the text of its cell; no cell is empty.
Columns = Mapping[str, Callable[[Row], str]]
_NAMES: Columns = {"variant": lambda r: r.variant, "discretizer": lambda r: r.discretizer}


def _mark(row: Row, figure: str) -> str:
    return " (unproved)" if figure in row.unproved else ""


def _zero_state(row: Row, figure: float | None) -> str:
    """A zero-state figure of a network that claims such a gain."""
    return number(figure) if row.network_claim else NONE


SCORE_COLUMNS: Columns = {
    **_NAMES,
    "score": score_text,
    "each seed": seeds_text,
    "learned": learned_text,
    "rank": lambda r: NONE if r.rank is None else f"{r.rank}",
}
GAIN_COLUMNS: Columns = {
    **_NAMES,
    "declared": lambda r: number(r.declared),
    "claim": lambda r: r.claim or NONE,
    "verified": lambda r: number(r.verified) + _mark(r, "verified"),
    "attacked": lambda r: number(r.attacked),
    "tightness": lambda r: number(r.tightness, 3),
    "slack": lambda r: number(r.slack, 3),
    "radius": lambda r: radius_text(r.spectral_radius) + _mark(r, "spectral_radius"),
}
NETWORK_COLUMNS: Columns = {
    **_NAMES,
    "network declared": lambda r: number(r.network_declared),
    "network bound": lambda r: number(r.network_bound),
    "network attacked": lambda r: number(r.network_attacked),
    "network claim": lambda r: r.network_claim or NONE,
    "zero-state bound": lambda r: _zero_state(r, r.network_zero_state_bound),
    "zero-state attacked": lambda r: _zero_state(r, r.network_zero_state),
}
COST_COLUMNS: Columns = {
    **_NAMES,
    "parameters": lambda r: NONE if r.parameters is None else f"{r.parameters}",
    "steps/s": lambda r: number(r.steps_per_second),
    "time of a run": lambda r: duration_text(r.seconds),
    "peak memory": lambda r: memory_text(r.peak_memory),
    "GPU memory": lambda r: memory_text(r.peak_gpu_memory),
    "energy of a run": lambda r: energy_text(r.energy),
}
#: The tables of a leaderboard by name.
LEADERBOARD: Mapping[str, Columns] = {
    "Scores": SCORE_COLUMNS,
    "Gains of layers": GAIN_COLUMNS,
    "Gains of networks": NETWORK_COLUMNS,
    "Cost": COST_COLUMNS,
}
#: What a table leaves out where no row has it.
OPTIONAL = (
    *("tightness", "slack", "network declared", "learned"),
    *("claim", "network claim", "zero-state bound", "zero-state attacked"),
    *("time of a run", "peak memory", "GPU memory", "energy of a run"),
)


def present(columns: Columns, table: Iterable[Row]) -> Columns:
    """Without the optional columns that no row has."""
    table = list(table)
    return {
        title: cell
        for title, cell in columns.items()
        if title not in OPTIONAL or any(cell(row) != NONE for row in table)
    }


def leaderboard_table(table: Iterable[Row], columns: Columns = SCORE_COLUMNS) -> str:
    """The rows as a Markdown table."""
    table = list(table)
    shown = present(columns, table)
    words = 4 if "score" in shown else 2
    return markdown(shown, [[cell(row) for cell in shown.values()] for row in table], words)


#: For variants whose continuous system has a prescribed gain: does sampling preserve it?
SAMPLING_COLUMNS = {
    **_NAMES,
    "the bound is": lambda r: "kept" if r.verified <= r.promised * (1 + TOLERANCE) else "violated",
    "promised": lambda r: number(r.promised),
    "verified": lambda r: number(r.verified),
    "verified / promised": lambda r: number(r.verified / r.promised),
}


def sampling_table(table: Iterable[Row]) -> str:
    """One line per variant and discretizer: the gain promised before sampling and that after."""
    columns = SAMPLING_COLUMNS.values()
    return markdown(SAMPLING_COLUMNS, [[cell(row) for cell in columns] for row in table])


#: Measures of layers beside their gain.
MEASURE_COLUMNS: Mapping[str, Callable[[MeasureRow], str]] = {
    "variant": lambda r: r.variant,
    "discretizer": lambda r: r.discretizer,
    "measure": lambda r: f"{r.measure} [{r.unit}]" if r.unit else r.measure,
    "declared": lambda r: number(r.declared),
    "value": lambda r: number(r.value),
    "proved": lambda r: number(r.proved),
    "attacked": lambda r: number(r.attacked),
    "note": lambda r: r.note or NONE,
}


def measures_table(table: Iterable[MeasureRow]) -> str:
    """One line for each variant, discretizer and measure."""
    cells = [[cell(row) for cell in MEASURE_COLUMNS.values()] for row in table]
    return markdown(MEASURE_COLUMNS, cells, words=3)


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
    return markdown(PUBLISHED_COLUMNS, cells, words=4)


def robustness_table(points: Iterable[RobustnessRow]) -> str:
    """Means: one line per variant, discretizer and kind of disturbance; one column per energy."""
    lines: dict[tuple[str, str, str], dict[float, str]] = {}
    for point in points:
        line = lines.setdefault((point.variant, point.discretizer, point.kind), {})
        line[point.energy] = NONE if point.score_mean is None else f"{point.score_mean:.4f}"
    return _by_value(lines, "disturbance")


#: Energies of the columns of certified accuracy.
CERTIFIED_COLUMNS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2)


def certified_table(certified: Iterable[CertifiedRow], points: Iterable[RobustnessRow]) -> str:
    """One line per variant and discretizer: the median radius and the certified accuracy at some
    energies, of the ``points`` of the certified curves; or why there are none."""
    scores = certified_scores(points)
    header = ["variant", "discretizer", "none because", "median radius"]
    header += [f"{energy:g}" for energy in CERTIFIED_COLUMNS]
    cells = []
    for row in certified:
        known = scores.get((row.variant, row.discretizer), {})
        shares = [known.get(energy) for energy in CERTIFIED_COLUMNS]
        cells.append(
            [row.variant, row.discretizer, row.reason or NONE, number(row.median_radius, 3)]
            + [NONE if share is None else f"{share:.4f}" for share in shares]
        )
    return markdown(header, cells)


def certified_scores(
    points: Iterable[RobustnessRow],
) -> dict[tuple[str, str], dict[float, float | None]]:
    """The certified accuracy by variant and discretizer, and by energy."""
    found: dict[tuple[str, str], dict[float, float | None]] = {}
    for point in points:
        if point.kind in ("certified", NEAREST):
            curve = found.setdefault((point.variant, point.discretizer), {})
            curve[point.energy] = point.score_mean
    return found


#: Energies at which the changes of real outputs are shown.
CHANGE_COLUMNS = (0.01, 0.03, 0.1)


def changes_table(certified: Iterable[CertifiedRow]) -> str:
    """One line per variant and output: its largest change at some energies; or why none is
    known."""
    header = ["variant", "discretizer", "output", *(f"{energy:g}" for energy in CHANGE_COLUMNS)]
    cells = []
    for row in certified:
        for index, change in enumerate(row.largest_changes):
            shown = [number(energy * change) for energy in CHANGE_COLUMNS]
            cells.append([row.variant, row.discretizer, f"{index + 1}", *shown])
        if not row.largest_changes:
            none = [NONE] * len(CHANGE_COLUMNS)
            cells.append([row.variant, row.discretizer, f"none: {row.reason}", *none])
    return markdown(header, cells)


def further_table(further: Iterable[FurtherRow]) -> str:
    """One line per variant and discretizer; one column per value of the quantity."""
    lines: dict[tuple[str, str, str], dict[float, str]] = {}
    for row in further:
        line = lines.setdefault((row.variant, row.discretizer, row.quantity), {})
        line[row.value] = further_text(row)
    return _by_value(lines, "quantity")


def _by_value(lines: Mapping[tuple[str, str, str], Mapping[float, str]], third: str) -> str:
    values = sorted({value for line in lines.values() for value in line})
    header = ["variant", "discretizer", third, *(f"{value:g}" for value in values)]
    cells = [[*key, *(line.get(v, NONE) for v in values)] for key, line in lines.items()]
    return markdown(header, cells)


def comparisons_table(found: Iterable[Comparison]) -> str:
    """One line for each pair."""
    header = ["one", "other", "verdict", "difference", "interval", "p", "adjusted", "pairs"]
    cells = [
        [
            named(*one.one),
            named(*one.other),
            verdict_text(one),
            f"{one.difference:+.4f}",
            interval_text(one.low, one.high),
            f"{one.p:.3g}",
            f"{one.adjusted:.3g}",
            f"{one.pairs}",
        ]
        for one in found
    ]
    return markdown(header, cells)


def verdict_text(one: Comparison) -> str:
    """``S4D-Lin with zoh is better``, or the verdict."""
    if one.better is None:
        return one.verdict
    return f"{named(*(one.one, one.other)[one.better])} is better"


def named(variant: str, discretizer: str) -> str:
    """A variant in a sentence."""
    return variant if discretizer in ("none", "") else f"{variant} with {discretizer}"


def failures_table(failures: Iterable[Failure]) -> str:
    """One line for each variant, outcome and reason, with its seeds."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for one in failures:
        key = (one.variant, one.discretizer, one.outcome, one.reason or NONE)
        where = f"{one.seed} ({one.source})" if one.source else f"{one.seed}"
        seeds.setdefault(key, []).append(where)
    header = ["variant", "discretizer", "outcome", "reason", "seeds"]
    cells = [[*key, ", ".join(of)] for key, of in seeds.items()]
    return markdown(header, cells, words=5)


def overall_table(over: OverTasks) -> str:
    """Interquartile means, the best first."""
    header = ["variant", "discretizer", "interquartile mean", "runs"]
    cells = [
        [
            one.variant,
            one.discretizer,
            f"{one.iqm:.4f} {interval_text(one.low, one.high)}",
            f"{one.runs}",
        ]
        for one in over.overall
    ]
    return markdown(header, cells)


def against_table(found: Against) -> str:
    """One line for each variant on each task that both suites have."""
    return markdown(AGAINST_COLUMNS, map(against_cells, found.rows), words=4)


AGAINST_COLUMNS = (
    *("task", "variant", "discretizer", "verdict"),
    *("here", "there", "difference", "seeds"),
)


def against_cells(row: AgainstRow) -> list[str]:
    """The cells of :data:`AGAINST_COLUMNS`."""
    one = row.comparison
    difference = NONE
    if one is not None:
        interval = "" if one.low is None else f" {interval_text(one.low, one.high)}"
        difference = f"{one.difference:+.4f}{interval}"
    return [
        row.task,
        row.variant,
        row.discretizer,
        NONE if one is None else verdict_text(one),
        number(row.here),
        number(row.there),
        difference,
        "0" if one is None else f"{one.pairs}",
    ]


def against_gains_table(found: Against) -> str:
    """The gains of both suites, ``here / there``."""
    names = [gain.name.replace("_", " ") for gain in found.rows[0].gains] if found.rows else []
    header = ["task", "variant", "discretizer", *names]
    cells = [
        [
            *(row.task, row.variant, row.discretizer),
            *(f"{number(gain.here)} / {number(gain.there)}" for gain in row.gains),
        ]
        for row in found.rows
    ]
    return markdown(header, cells)


def markdown(header: Iterable[str], table: Iterable[Iterable[str]], words: int = 3) -> str:
    """A table whose first ``words`` columns are words."""
    header = list(header)
    rule = "|" + " --- |" * words + " ---: |" * (len(header) - words)
    lines = ["| " + " | ".join(header) + " |", rule]
    for row in table:
        lines.append("| " + " | ".join(_cell(cell) for cell in row) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
