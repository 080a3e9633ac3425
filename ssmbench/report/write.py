"""Write the report of a suite: tables for every task, as Markdown, CSV and JSON, and figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ssmbench import jsonio
from ssmbench.report.collect import collect
from ssmbench.report.statistics import RobustnessRow, robustness_rows, rows
from ssmbench.report.tables import refusals_text, to_csv, to_markdown
from ssmbench.runs.folder import write_atomically
from ssmbench.suite.grid import RUNS
from ssmbench.suite.record import read_suite


def write_report(root: Path) -> dict[str, Path]:
    """Write ``report/`` in a suite's folder; the files by kind.

    Raises:
        UsageError: no suite was run there.
    """
    from ssmbench.report.figures import plots  # matplotlib takes its time

    records = collect(root)
    table = rows(records)
    out = root / "report"
    out.mkdir(exist_ok=True)
    files = {"gain_plot": plots.score_against_gain(table, out / "score_vs_gain.png")}
    if any(row.network_attacked is not None for row in table):
        file = out / "score_vs_network_gain.png"
        files["network_gain_plot"] = plots.score_against_network_gain(table, file)
    for task in dict.fromkeys(row.task for row in table):
        files[f"poles_{task}"] = plots.poles(records, root / RUNS, task, out / f"poles_{task}.png")
    curves = robustness_rows(records)
    for task in dict.fromkeys(point.task for point in curves):
        file = out / f"robustness_{task}.png"
        files[f"robustness_{task}"] = plots.robustness(curves, table, task, file)
    if curves:
        files["robustness_csv"] = out / "robustness.csv"
        write_atomically(files["robustness_csv"], to_csv(curves, RobustnessRow))
    files["csv"], files["json"] = out / "report.csv", out / "report.json"
    files["markdown"] = out / "report.md"
    write_atomically(files["csv"], to_csv(table))
    write_atomically(files["json"], jsonio.dumps([asdict(row) for row in table], indent=1))
    images = [file.name for file in files.values() if file.suffix == ".png"]
    suite = read_suite(root)
    page = to_markdown(suite["name"], records, images) + refusals_text(suite.get("refused", []))
    write_atomically(files["markdown"], page)
    return files
