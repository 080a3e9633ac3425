"""One file outside the package adds an entry of any kind: it is listed, chosen from a config and
run, or benchmarked, where its built-in siblings are.

The files are those of docs/writing_a_plugin.md; tests/plugins/test_new.py has a run of each.
"""

from __future__ import annotations

import itertools
import json

import pytest

from ssmbench import registry
from ssmbench.bench import scans
from ssmbench.library.templates import template


@pytest.fixture
def plugin(write):
    """``plugin(kind)`` writes the page's file of a kind into ./plugins; the name it registers."""

    def write_plugin(kind: str) -> str:
        files = template(kind)
        write(f"plugins/{files.example}.py", files.plugin)
        return files.example

    return write_plugin


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_a_plugin_is_listed_and_shown_beside_its_siblings(kind, plugin, ssmbench):
    name = plugin(kind)
    listed = json.loads(ssmbench("list", kind, "--json").out)["entries"]
    (entry,) = (entry for entry in listed if entry["name"] == name)
    assert len(listed) > 1
    assert f"plugins/{name}.py:" in entry["origin"]
    shown = json.loads(ssmbench("show", kind, name, "--json").out)
    assert (shown["kind"], shown["summary"]) == (kind, entry["summary"])


def test_a_suite_compares_plugins_with_built_ins(plugin, ssmbench, write, tiny_suite):
    plugin("parametrization")
    plugin("discretizer")
    tiny_suite["launcher"] = plugin("launcher")
    tiny_suite["variants"] = {
        "Mine": {
            "model": {"parametrization": {"name": "damped_modes", "d_state": 2}},
            "discretizers": ["zoh", "ralston"],
        },
        "L2RU": {"model": {"parametrization": "l2ru"}},
    }
    config = write("suite.yaml", tiny_suite)
    answer = ssmbench("suite", config, "--output", "out", "--json")
    assert answer.code == 0, answer.err
    rows = {(row["variant"], row["discretizer"]) for row in json.loads(answer.out)["rows"]}
    assert {("Mine", "zoh"), ("Mine", "ralston")} <= rows
    assert any(variant == "L2RU" for variant, _ in rows)


def test_a_scan_is_benchmarked_beside_the_others(plugin, ssmbench, monkeypatch):
    plugin("scan")
    first = list(itertools.islice(scans.cases(quick=True), 1))  # the others take seconds each
    monkeypatch.setattr(scans, "cases", lambda quick: first)
    answer = ssmbench("bench", "scans", "--quick", "--rounds", 1, "--json")
    assert answer.code == 0, answer.err
    backends = {row["backend"] for row in json.loads(answer.out)}
    assert {"doubling", "chunked", "cpu"} <= backends
