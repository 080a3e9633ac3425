"""What a report says of longer and of irregular tests."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ssmbench.figures.saving import save_figure
from ssmbench.report.collect import RunRecord
from ssmbench.report.contents import About, contents
from ssmbench.report.figures.further import score_against
from ssmbench.report.statistics import FurtherRow, further_rows, rows
from ssmbench.report.tables import further_table
from ssmbench.report.writers.markdown import to_markdown
from ssmbench.report.writers.spreadsheets import to_csv
from ssmbench.results import FurtherTest
from tests.runs.results import FINISHED

LENGTH = "length factor"


def record(
    scores: dict[float, float | None], seed: int = 0, norm: float = 1.5, quantity: str = LENGTH
) -> RunRecord:
    tests = [
        FurtherTest(f"{value} x", score, score is None, quantity, value, (1.0, norm))
        for value, score in scores.items()
    ]
    named = FurtherTest("another record", 0.1, False, state_norms=(9.0,))
    result = replace(FINISHED, further_tests=(*tests, named))
    return RunRecord("delay", "S4D", "zoh", seed, f"{seed}", "finished", result)


def test_rows_are_of_tests_that_vary_one_quantity():
    records = [record({4: 0.5, 1: 0.2}), record({4: None, 1: 0.4}, 1, math.inf)]
    first, second = further_rows(records)
    assert (first.value, first.runs, first.diverged) == (1, 2, 0)
    assert first.score_mean == pytest.approx(0.3)
    assert (second.value, second.score_mean, second.diverged) == (4, None, 1)
    assert second.state_norm == math.inf


def test_the_table_has_a_column_for_each_value():
    records = [record({1: 0.2, 4: 0.5}), record({1: 0.4, 4: None}, 1)]
    lines = further_table(further_rows(records)).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:3] == ["S4D", "zoh", LENGTH]
    assert cells[3:] == ["0.3000 ± 0.1414 (1.5)", "none (diverged: 1 of 2)"]


def test_the_page_has_a_table_for_each_quantity_and_none_without_tests():
    both = [record({1: 0.2, 4: 0.5}), record({0: 0.2, 0.5: 0.3}, 1, quantity="share dropped")]
    page = to_markdown(contents(both, About("suite")))
    assert "### Longer and irregular tests: delay" in page
    assert page.count("| variant | discretizer | quantity |") == 2
    without = contents([replace(both[0], result=FINISHED)], About("suite"))
    assert "Longer and irregular" not in to_markdown(without)


def test_the_csv_has_an_answer_in_every_cell():
    text = to_csv(further_rows([record({1: 0.2, 4: None}, norm=math.inf)]), FurtherRow)
    assert all(all(line.split(",")) for line in text.splitlines())


@pytest.mark.parametrize(
    "scores", [{1: 0.5}, {1: 0.5, 2: 0.2, 16: None}, {1: None}, {0: 0.3, 0.5: 0.4}, {1: 0.0}]
)
def test_any_scores_can_be_plotted(scores, tmp_path):
    records = [record(scores)]
    figure = score_against(further_rows(records), rows(records), "delay", LENGTH)
    assert save_figure(figure, tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("values", "scale"), [((1, 2, 4, 16), "log"), ((0.1, 0.3, 0.8), "linear"), ((1, 2), "linear")]
)
def test_factors_have_a_logarithmic_axis_and_shares_have_not(values, scale):
    records = [record(dict.fromkeys(values, 0.5))]
    figure = score_against(further_rows(records), rows(records), "delay", LENGTH)
    assert figure.axes[0].get_xscale() == scale
