"""Write the report of a suite: tables for every task, as Markdown, CSV and JSON, and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.files import write_atomically
from ssmbench.report.collect import RunRecord, collect
from ssmbench.report.published import PublishedRow, published_rows
from ssmbench.report.statistics import (
    FurtherRow,
    RobustnessRow,
    further_rows,
    robustness_rows,
    rows,
)
from ssmbench.report.tables import refusals_text, to_csv, to_markdown
from ssmbench.suite.grid import RUNS
from ssmbench.suite.record import read_suite


def write_report(root: Path) -> dict[str, Path]:
    """Write ``report/`` in a suite's folder; returns the files by kind.

    Raises:
        UsageError: no suite was run in ``root``.
    """
    records = collect(root)
    out = root / "report"
    out.mkdir(exist_ok=True)
    files = _write_figures(records, root / RUNS, out)
    table, curves, more = rows(records), robustness_rows(records), further_rows(records)
    if curves:
        files["robustness_csv"] = out / "robustness.csv"
        write_atomically(files["robustness_csv"], to_csv(curves, RobustnessRow))
    if more:
        files["further_csv"] = out / "further_tests.csv"
        write_atomically(files["further_csv"], to_csv(more, FurtherRow))
    published = published_rows(records)
    if published:
        files["published_csv"] = out / "published.csv"
        files["published_json"] = out / "published.json"
        write_atomically(files["published_csv"], to_csv(published, PublishedRow))
        write_atomically(files["published_json"], _json(published))
    files["csv"], files["json"] = out / "report.csv", out / "report.json"
    files["markdown"] = out / "report.md"
    write_atomically(files["csv"], to_csv(table))
    write_atomically(files["json"], _json(table))
    images = [file.name for file in files.values() if file.suffix == ".png"]
    suite = read_suite(root)
    page = to_markdown(suite["name"], records, images) + refusals_text(suite.get("refused", []))
    write_atomically(files["markdown"], page)
    return files


def _json(table: Iterable[Any]) -> str:
    return jsonio.dumps([asdict(row) for row in table], indent=1)


def _write_figures(records: list[RunRecord], runs: Path, out: Path) -> dict[str, Path]:
    from ssmbench.figures.saving import save_figure
    from ssmbench.report.figures import further, gains, poles, robustness  # slow: matplotlib

    table, curves = rows(records), robustness_rows(records)
    gain_plot = save_figure(gains.score_against_gain(table), out / "score_vs_gain.png")
    files = {"gain_plot": gain_plot}
    if any(row.network_attacked is not None for row in table):
        figure = gains.score_against_network_gain(table)
        files["network_gain_plot"] = save_figure(figure, out / "score_vs_network_gain.png")
    for task in dict.fromkeys(row.task for row in table):
        figure = poles.poles(records, runs, task)
        files[f"poles_{task}"] = save_figure(figure, out / f"poles_{task}.png")
    for task in dict.fromkeys(point.task for point in curves):
        figure = robustness.robustness(curves, table, task)
        files[f"robustness_{task}"] = save_figure(figure, out / f"robustness_{task}.png")
    more = further_rows(records)
    for task, quantity in dict.fromkeys((row.task, row.quantity) for row in more):
        figure = further.score_against(more, table, task, quantity)
        name = f"{quantity.replace(' ', '_')}_{task}"
        files[name] = save_figure(figure, out / f"{name}.png")
    return files
