"""Certified accuracy and certified changes in every form of a report."""

from __future__ import annotations

import csv
import io

import pytest

from ssmbench.figures.saving import save_figure
from ssmbench.report.certified import NEAREST, certified_rows, floor_rows
from ssmbench.report.collect import collect
from ssmbench.report.contents import About, contents
from ssmbench.report.curves import robustness_rows
from ssmbench.report.figures.robustness import robustness
from ssmbench.report.html.page import page
from ssmbench.report.statistics import rows
from ssmbench.report.writers.latex import to_latex
from ssmbench.report.writers.markdown import to_markdown
from ssmbench.report.writers.spreadsheets import spreadsheets
from tests.report.planted import ENERGIES, planted_suite

WHY = "the norm declares no Lipschitz constant"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A classification and a regression, three variants of which the last has a declared gain."""
    root = planted_suite(tmp_path_factory.mktemp("planted"), 2, 3, 2, troubles=False)
    return collect(root)


@pytest.fixture(scope="module")
def shown(records):
    return contents(records, About("planted"))


def test_there_is_a_row_for_every_variant_and_one_for_nearest_neighbours(records):
    found = certified_rows(records)
    assert [(r.task, r.variant) for r in found] == [
        *(("task0", name) for name in ("V0", "V1", "V2", NEAREST)),
        *(("task1", name) for name in ("V0", "V1", "V2")),
    ]
    by_name = {(r.task, r.variant): r for r in found}
    assert by_name["task0", "V0"].reason == WHY
    assert by_name["task0", "V0"].median_radius is None
    mean = rows(records)[2].score_mean
    assert by_name["task0", "V2"].median_radius == pytest.approx(mean / 10)
    assert by_name["task0", NEAREST].median_radius == 0.12
    assert by_name["task1", "V2"].largest_changes == (2.0, 4.0)
    floor = floor_rows(records)
    assert [point.energy for point in floor] == list(ENERGIES)
    assert {point.task for point in floor} == {"task0"}


def test_the_page_of_markdown_has_both_tables(shown):
    text = to_markdown(shown)
    of_classes = text.partition("### Certified accuracy: task0")[2].partition("###")[0]
    assert "Of each sequence; norms of the input." in of_classes
    assert f"| V0 | zoh | {WHY} | none | none |" in of_classes
    assert f"| {NEAREST} | none | none | 0.12 | 0.9000 | none |" in of_classes
    of_outputs = text.partition("### Certified largest change of each output [V]: task1")[2]
    assert "| V2 | none | 1 | 0.02 | 0.06 | 0.2 |" in of_outputs
    assert "| V2 | none | 2 | 0.04 | 0.12 | 0.4 |" in of_outputs
    assert f"| V0 | zoh | none: {WHY} | none | none | none |" in of_outputs


def test_latex_has_a_table_of_the_tasks_that_have_a_certificate(shown):
    text = to_latex(shown)
    assert text.count("\\begin{table}") == 3
    line = next(x for x in text.splitlines() if x.strip().startswith(NEAREST))
    assert line.count("&") == 9
    assert "$0.12$" in line or "0.12" in line


def test_the_spreadsheets_have_the_floor_and_the_radii(shown):
    files = spreadsheets(shown)
    curves = list(csv.DictReader(io.StringIO(files["robustness.csv"])))
    assert {line["kind"] for line in curves if line["task"] == "task0"} == {
        *("random", "adversarial", "certified", NEAREST)
    }
    radii = list(csv.DictReader(io.StringIO(files["certified.csv"])))
    assert {line["variant"]: line["median_radius"] for line in radii}[NEAREST] == "0.12"


def test_the_html_page_has_the_curve_of_nearest_neighbours_and_the_tables(shown):
    text = page(shown)
    assert "task0: certified under every disturbance" in text
    assert text.count('"dash":"dash"') + text.count('"dash": "dash"') == 1
    assert "task0: certified accuracy" in text
    assert "task1: certified largest change of each output [V]" in text
    assert WHY in text


def test_the_figure_has_the_certified_curve_and_the_dashed_floor(records, tmp_path):
    points, table = robustness_rows(records), rows(records)
    figure = robustness(points, table, "task0", floor_rows(records))
    (axis,) = figure.axes
    styles = [curve.lines[0].get_linestyle() for curve in axis.containers]
    assert styles.count(":") == 1
    assert f"{NEAREST}, certified" in [t.get_text() for t in figure.legends[0].get_texts()]
    assert save_figure(figure, tmp_path / "robustness.png").stat().st_size > 1000
