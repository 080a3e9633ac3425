"""Reports of networks that claim a zero-state gain, beside those that claim an incremental one."""

from __future__ import annotations

import dataclasses
import math

import pytest

from ssmbench.report.collect import collect
from ssmbench.report.contents import About, contents
from ssmbench.report.html.page import page
from ssmbench.report.tables import LEADERBOARD, leaderboard_table
from tests.report.planted import planted_suite


@pytest.fixture
def reported(tmp_path):
    """Two variants: the second has layers and a network of zero-state gain 5, attacked 4."""
    planted_suite(tmp_path, 1, 2, 2)
    return contents([_claiming(record) for record in collect(tmp_path)], About("a suite"))


def _claiming(record):
    if record.variant != "V1" or record.result is None:
        return record
    gain = record.result.gain
    network = dataclasses.replace(
        gain.network,
        claim="zero-state",
        declared=5.0,
        bound=math.inf,
        reason="planted",
        zero_state=4.0,
        zero_state_bound=5.0,
        attacked=70.0,
    )
    layers = tuple(dataclasses.replace(layer, claim="zero-state") for layer in gain.layers)
    gain = dataclasses.replace(gain, network=network, layers=layers)
    return dataclasses.replace(record, result=dataclasses.replace(record.result, gain=gain))


def test_tables_say_which_gain_is_claimed(reported):
    rows = reported.tasks[0].rows
    text = leaderboard_table(rows, LEADERBOARD["Gains of networks"])
    head, _, first, second = (line.split("|") for line in text.splitlines())
    titles = [title.strip() for title in head]
    cells = {
        line[1].strip(): dict(zip(titles, map(str.strip, line), strict=True))
        for line in (first, second)
    }
    assert cells["V1"]["network claim"] == "zero-state"
    assert (cells["V1"]["zero-state bound"], cells["V1"]["zero-state attacked"]) == ("5", "4")
    assert cells["V1"]["network bound"] == "inf"
    assert cells["V0"]["network claim"] == cells["V0"]["zero-state bound"] == "none"


def test_tables_without_such_claims_have_no_such_columns(tmp_path):
    planted_suite(tmp_path, 1, 2, 2)
    rows = contents(list(collect(tmp_path)), About("a suite")).tasks[0].rows
    for columns in LEADERBOARD.values():
        assert "claim" not in leaderboard_table(rows, columns)


def test_the_page_sets_the_declared_gain_beside_the_attack_of_its_kind(reported):
    text = page(reported)
    assert "zero-state gain; differences: attacked 70, no bound, because planted" in text
