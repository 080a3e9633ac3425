"""Measures of layers in every form of the report, and no trace of them where none was asked for."""

from __future__ import annotations

import csv
import dataclasses
import io
import math

from ssmbench.report.contents import About, contents
from ssmbench.report.html import page
from ssmbench.report.measures import measure_rows
from ssmbench.report.writers.latex import to_latex
from ssmbench.report.writers.markdown import to_markdown
from ssmbench.report.writers.spreadsheets import spreadsheets
from ssmbench.results import LayerGains, LayerMeasure, Result
from tests.report.test_report import record


def gain(value: float, upper: float | None = None, name: str = "peak_to_peak") -> LayerMeasure:
    return LayerMeasure(name, value, value, value if upper is None else upper, value)


def index(value: float, declared: float | None = None, note: str = "") -> LayerMeasure:
    return LayerMeasure(
        "passivity", value, value, value, value, declared, larger_is_worse=False, note=note
    )


def layer(*measures: LayerMeasure) -> LayerGains:
    return LayerGains(None, 2.0, 1.0, 0.0, 0.9, 0.1, measures=measures)


def records(*layers: LayerGains):
    return [record("finished", seed, layers=layers) for seed in range(2)]


def test_a_row_has_the_worst_layer_in_the_direction_of_the_measure():
    found = records(layer(gain(3.0), index(0.2, 0.1)), layer(gain(5.0), index(0.3, 0.1)))
    peak, passivity = measure_rows(found)
    assert (peak.value, peak.proved, peak.attacked, peak.declared) == (5.0, 5.0, 5.0, None)
    assert (passivity.value, passivity.declared, passivity.layers) == (0.2, 0.1, 4)


def test_a_layer_without_the_figure_leaves_it_out_with_its_reason():
    none = LayerMeasure("peak_to_peak", None, None, None, None, note="time-varying")
    (row,) = measure_rows(records(layer(gain(3.0)), layer(none)))
    assert row.value is None
    assert row.proved is None
    assert row.note == "time-varying"
    (open_,) = measure_rows(records(layer(gain(3.0, upper=math.inf)), layer(gain(1.0))))
    assert open_.proved == math.inf


def test_every_form_of_the_report_has_them():
    shown = contents(records(layer(gain(3.25), index(-0.5, note="not passive"))), About("name"))
    markdown = to_markdown(shown)
    assert "### Measures of layers: digits" in markdown
    assert "| S4D | zoh | peak_to_peak | none | 3.25 | 3.25 | 3.25 | none |" in markdown
    assert "not passive" in markdown
    latex = to_latex(shown)
    assert r"S4D & zoh & peak\_to\_peak & -- & 3.25 & 3.25 & 3.25 \\" in latex
    lines = list(csv.DictReader(io.StringIO(spreadsheets(shown)["measures.csv"])))
    assert [line["measure"] for line in lines] == ["peak_to_peak", "passivity"]
    assert 'id="measures"' in page(shown)
    assert dataclasses.asdict(shown)["tasks"][0]["measures"][0]["value"] == 3.25


def test_without_them_nothing_is_shown():
    shown = contents(records(layer()), About("name"))
    assert "Measures of layers" not in to_markdown(shown) + to_latex(shown)
    assert "measures.csv" not in spreadsheets(shown)
    assert 'id="measures"' not in page(shown)


def test_a_result_comes_back_from_its_dict():
    (one, _) = records(layer(gain(3.0), index(0.2, 0.1)))
    assert Result.from_dict(one.result.to_dict()) == one.result
