"""Write a report: what it shows is computed once, then written in several forms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ssmbench import jsonio
from ssmbench.errors import WriteError
from ssmbench.files import write_atomically
from ssmbench.report.against import Against
from ssmbench.report.certified import floor_rows
from ssmbench.report.collect import RunRecord
from ssmbench.report.contents import Contents, contents
from ssmbench.report.html import page
from ssmbench.report.statistics import further_rows, robustness_rows, rows
from ssmbench.report.suites import Source, read_source
from ssmbench.report.writers.latex import to_latex
from ssmbench.report.writers.markdown import to_markdown
from ssmbench.report.writers.spreadsheets import spreadsheets
from ssmbench.runs.poles import POLES_FILE


def write_report(root: Path) -> dict[str, Path]:
    """Write ``report/`` in a suite's folder; returns the files by kind.

    Raises:
        UsageError: no suite was run in ``root``.
        WriteError: a file cannot be written.
    """
    return write_source(read_source(root), root / "report")[1]


def write_source(
    source: Source, out: Path, against: Against | None = None
) -> tuple[Contents, dict[str, Path]]:
    """Write the report of some runs into ``out``; what it shows, and the files by kind.

    Raises:
        WriteError: a file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of(out, error) from None
    shown = contents(source.records, source.about, against)
    files = _write_figures(source.records, out)
    images = [file.name for file in files.values()]
    texts = {
        **spreadsheets(shown),
        "report.json": jsonio.dumps(asdict(shown), indent=1),
        "report.tex": to_latex(shown),
        "report.md": to_markdown(shown, images),
        "report.html": page(shown),
    }
    for name, text in texts.items():
        write_atomically(out / name, text)
    return shown, files | {_kind(name): out / name for name in texts}


def _kind(name: str) -> str:
    """``csv`` of report.csv, ``runs_csv`` of runs.csv, ``markdown`` of report.md."""
    stem, _, suffix = name.partition(".")
    if stem == "report":
        return {"md": "markdown", "tex": "latex"}.get(suffix, suffix)
    return {"further_tests": "further"}.get(stem, stem) + f"_{suffix}"


def _write_figures(records: Sequence[RunRecord], out: Path) -> dict[str, Path]:
    from ssmbench.figures.saving import save_figure
    from ssmbench.report.figures import further, gains, poles, robustness  # slow: matplotlib

    table, curves = rows(records), robustness_rows(records)
    gain_plot = save_figure(gains.score_against_gain(table), out / "score_vs_gain.png")
    files = {"gain_plot": gain_plot}
    if any(row.network_attacked is not None for row in table):
        figure = gains.score_against_network_gain(table)
        files["network_gain_plot"] = save_figure(figure, out / "score_vs_network_gain.png")
    for task in dict.fromkeys(r.task for r in records if _has_poles(r)):
        figure, name = poles.poles(records, task), _file_name(f"poles_{task}")
        files[name] = save_figure(figure, out / f"{name}.png")
    for task in dict.fromkeys(point.task for point in curves):
        figure = robustness.robustness(curves, table, task, floor_rows(records))
        name = f"robustness_{task}"
        files[_file_name(name)] = save_figure(figure, out / f"{_file_name(name)}.png")
    more = further_rows(records)
    for task, quantity in dict.fromkeys((row.task, row.quantity) for row in more):
        figure = further.score_against(more, table, task, quantity)
        name = _file_name(f"{quantity}_{task}")
        files[name] = save_figure(figure, out / f"{name}.png")
    return files


def _has_poles(record: RunRecord) -> bool:
    """Whether the run has a file of them: a published run has none."""
    return record.folder is not None and (record.folder / POLES_FILE).exists()


def _file_name(title: str) -> str:
    """Tasks of several suites have names with blanks and brackets, which links do not."""
    return re.sub(r"[^\w.+-]+", "_", title).rstrip("_")
