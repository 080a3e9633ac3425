"""One file outside the package adds an entry of any kind: it is listed, chosen from a config and
run, or benchmarked, where its built-in siblings are.

The files are those of docs/writing_a_plugin.md.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from ssmbench import registry
from ssmbench.bench import scans
from tests.plugin_page import file_of

#: What a run config says of the page's file of each kind, beside what it says without.
CHOSEN: dict[str, dict[str, Any]] = {
    "parametrization": {"model": {"parametrization": "damped_modes"}},
    "discretizer": {"model": {"discretizer": "ralston"}},
    "normaliser": {"model": {"normaliser": "with_margin"}},
    "scan": {"model": {"scan": "doubling"}},
    "block": {"model": {"block": "parallel"}},
    "nonlinearity": {"model": {"nonlinearity": "softsign"}},
    "norm": {"model": {"norm": "bounded"}},
    "encoder": {"model": {"encoder": "clipped"}},
    "decoder": {"model": {"decoder": "two_layers"}},
    "optimizer": {"optimizer": "rmsprop"},
    "callback": {"callbacks": ["gradient_norm"]},
    "augmentation": {"augment": ["polarity"]},
    "task": {"task": {"name": "echo", "length": 12, "delay": 2, "sequences": 40}},
}


def chosen(kind: str, tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny run config with the plugin of a kind in its place."""
    sections = CHOSEN[kind]
    return tiny | sections | {"model": tiny["model"] | sections.get("model", {})}


@pytest.fixture
def plugin(write):
    """``plugin(kind)`` writes the page's file of a kind into ./plugins; the name it registers."""

    def write_plugin(kind: str) -> str:
        name, text = file_of(kind)
        write(f"plugins/{name}", text)
        return name.removesuffix(".py")

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


@pytest.mark.parametrize("kind", sorted(CHOSEN))
def test_a_run_uses_the_plugin_that_its_config_names(kind, plugin, ssmbench, write, tiny):
    name = plugin(kind)
    config = write("run.yaml", chosen(kind, tiny))
    answer = ssmbench("run", config, "--output", "out", "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["status"] == "finished"
    assert f"plugins: {name} from ./plugins" in answer.err
    resolved = json.loads(ssmbench("run", config, "--output", "out", "--dry-run", "--json").out)
    assert f'"name": "{name}"' in json.dumps(resolved["config"])


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
    first = itertools.islice(scans.cases(quick=True), 1)  # each of the others takes seconds
    monkeypatch.setattr(scans, "cases", lambda quick: first)
    answer = ssmbench("bench", "scans", "--quick", "--rounds", 1, "--json")
    assert answer.code == 0, answer.err
    backends = {row["backend"] for row in json.loads(answer.out)}
    assert {"doubling", "chunked", "cpu"} <= backends


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_every_kind_that_a_run_names_is_tried(kind):
    assert kind in CHOSEN or not registry.KINDS[kind].places
