"""The cost of a token by length: the ratios, the figures as JSON, and their table."""

from __future__ import annotations

import pytest

from ssmbench import jsonio, registry
from tests.tools import load_tool


def _row(tool, *costs):
    lengths = (1024, 4096, 16384)
    figures = dict(zip(lengths, costs, strict=True))
    return tool.Row("s4d", "zoh", 32, figures, dict.fromkeys(lengths, 8), figures, "a machine")


def test_growth_is_from_the_cheapest_to_the_longest_and_fixed_to_the_shortest():
    row = _row(load_tool("token_cost"), 30.0, 10.0, 15.0)
    assert (row.growth, row.fixed) == (1.5, 3.0)


def test_figures_of_a_layer_are_positive_and_its_bytes_those_of_its_input_at_least():
    tool = load_tool("token_cost")
    row = tool.measure("s4d", (64, 128), rounds=1)
    assert row.discretizer == "zoh"
    assert list(row.nanoseconds) == [64, 128]
    assert min(row.nanoseconds.values()) > 0
    assert all(4 <= row.kept[n] < row.peak[n] for n in (64, 128))


def test_every_built_in_parametrization_is_timed_unless_some_are_named():
    tool = load_tool("token_cost")
    assert set(tool.names([])) >= {"s4d", "l2ru", "selective", "contraction_delta"}
    assert set(tool.names([])) <= set(registry.parametrizations.names())
    assert tool.names(["s4d"]) == ["s4d"]


def test_the_table_is_that_of_the_figures(tmp_path, monkeypatch):
    tool, tables = load_tool("token_cost"), load_tool("doc_tables")
    monkeypatch.setattr(tables, "TOKENS", tmp_path / "tokens.json")
    assert tables.token_costs() == tables.NOT_MEASURED
    tables.TOKENS.write_text(tool.as_json([_row(tool, 30.0, 10.0, 15.0)]))
    assert jsonio.loads(tables.TOKENS.read_text())[0]["growth"] == pytest.approx(1.5)
    last = tables.token_costs().splitlines()[-1]
    assert last == "| `s4d` | 30 | 10 | 15 | 1.50 | 3.00 | 8 | 15 |"
