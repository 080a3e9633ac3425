"""The tool that measures the adversary, and on three times the built-in budget what it measures."""

import json
from dataclasses import replace

import pytest

from ssmbench.config import AnalysisConfig
from tests.tools import load_tool

BUILT_IN = AnalysisConfig()
LARGER = replace(BUILT_IN, attack_steps=120, attack_restarts=16)
UNTRAINED = ["contraction, sll", "lru, LayerNorm, untrained", "the same, untrained"]


@pytest.fixture(scope="module")
def tool():
    return load_tool("attack_strength")


@pytest.mark.parametrize("name", [*UNTRAINED, "s4d, gelu"])
def test_the_built_in_budget_comes_near_a_larger_one(tool, name):
    network = replace(tool.NETWORKS[name], steps=0)
    target = tool.Target(*tool.build(network))
    assert target.gain(BUILT_IN) >= 0.97 * target.gain(LARGER)


def test_the_tool_prints_a_row_per_network(tool, capsys, monkeypatch):
    monkeypatch.setattr(tool, "AnalysisConfig", lambda: replace(BUILT_IN, attack_steps=2))
    monkeypatch.setattr(tool, "FACTOR", 2)
    assert tool.main(["--only", "sll", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["network"] for row in rows] == [n for n in tool.NETWORKS if "sll" in n]
    assert all(row["gain"] > 0 and row["tenfold"] > 0 and row["seconds"] > 0 for row in rows)
