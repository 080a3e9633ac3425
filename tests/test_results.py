"""Typed results: to and from plain values, and what is read of other schemas."""

from __future__ import annotations

import copy
import math
from dataclasses import MISSING, fields
from typing import Any

import pytest

from ssmbench import jsonio
from ssmbench.results import (
    SCHEMA,
    Environment,
    Gains,
    LayerGains,
    NetworkGains,
    PluginFacts,
    Record,
    Result,
    ResultError,
    RobustnessPoint,
    SchemaError,
    Scores,
    TaskFacts,
)

LAYER = LayerGains(
    declared=None,
    verified=2.0,
    attacked=1.5,
    peak_frequency=0.0,
    spectral_radius=0.9,
    margin=0.1,
    verified_bound=math.inf,
    unproved=("verified",),
)
NETWORK = NetworkGains(None, math.inf, "no bound", 3.0, 2.5, None, "f(0) is not 0")
GAINS = Gains(
    None, 2.0, 1.5, 0.9, NETWORK, margin=0.1, violations=("layer 0: a > b",), layers=(LAYER,)
)
RESULT = Result(
    status="finished",
    diverged_at=None,
    scores=Scores(val=0.5, test=0.25),
    task=TaskFacts("digits", "bundled", "accuracy", True, "", "abc"),
    gain=GAINS,
    robustness=(RobustnessPoint(0.1, "random", 0.5), RobustnessPoint(3.0, "adversarial", None)),
    parameters=10,
    steps_per_second=None,
    environment=Environment(
        "cpu", 1, "cpu", 2, "3.12", {"torch": "2.11", "triton": None}, (PluginFacts("mine", "a"),)
    ),
    warnings=("nan",),
    steps=3,
)

#: result.json as ssmbench wrote it before its schema was 3.
SCHEMA_2 = {
    "schema": 2,
    "fingerprint": "f00",
    "status": "finished",
    "diverged_at": None,
    "warnings": [],
    "variant": "s4d",
    "parametrization": "s4d",
    "discretizer": "zoh",
    "seed": 0,
    "task": {
        "name": "digits",
        "source": "bundled",
        "score": "accuracy",
        "higher_is_better": True,
        "unit": "",
        "data_digest": "d",
    },
    "scores": {"val": 0.5, "test": 1},
    "gain": {
        "declared": None,
        "verified": 2.0,
        "attacked": 1.5,
        "spectral_radius": 0.9,
        "violations": [],
        "layers": [],
        "network": {"bound": 4.0, "reason": "", "attacked": 3.0, "attacked_from_silence": 2.5},
    },
    "robustness": [{"energy": 0.0, "kind": "random", "score": 0.5}],
    "parameters": 10,
    "steps": 3,
    "steps_per_second": 1.5,
    "environment": {"python": "3.12", "device": "NVIDIA H100", "threads": 1, "torch": "2.11"},
    "seconds": 2.0,
}


def changed(data: dict[str, Any], path: str, *value: Any) -> dict[str, Any]:
    """A copy with the value at a dotted path replaced, or removed where none is given."""
    data = copy.deepcopy(data)
    *parents, key = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    if value:
        place[key] = value[0]
    else:
        del place[key]
    return data


# --- one schema ---------------------------------------------------------------------------------


def test_a_result_survives_json():
    assert Result.from_dict(jsonio.loads(jsonio.dumps(RESULT.to_dict()))) == RESULT


def test_a_diverged_result_has_no_scores():
    data = changed(changed(RESULT.to_dict(), "scores", None), "status", "diverged")
    result = Result.from_dict(data)
    assert result.diverged
    assert result.scores is None


def test_keys_that_are_unknown_are_ignored():
    assert Result.from_dict(changed(RESULT.to_dict(), "gain.of_tomorrow", 1)) == RESULT


def required(record: Record, path: str = "") -> list[str]:
    """The paths of all keys without a default, in what a record holds."""
    found = []
    for field in fields(record):
        here, value = f"{path}{field.name}", getattr(record, field.name)
        if field.default is MISSING:
            found.append(here)
        if isinstance(value, Record):
            found += required(value, f"{here}.")
    return found


@pytest.mark.parametrize("path", required(RESULT))
def test_a_missing_key_without_default_is_named(path):
    with pytest.raises(ResultError, match=rf"^run/result.json: {path}: missing$"):
        Result.from_dict(changed(RESULT.to_dict(), path), "run/result.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("parameters", True),
        ("parameters", 1.5),
        ("steps_per_second", "fast"),
        ("gain.network.bound", None),
        ("gain.network", [1.0]),
        ("gain.layers", {"0": {}}),
        ("task.higher_is_better", 1),
        ("scores.test", None),
        ("environment.packages", ["torch"]),
    ],
)
def test_a_value_of_another_type_is_named(path, value):
    with pytest.raises(ResultError, match=rf"^result: {path}: must be"):
        Result.from_dict(changed(RESULT.to_dict(), path, value))


def test_the_item_of_a_list_is_named():
    data = RESULT.to_dict()
    data["gain"]["layers"][0]["margin"] = "wide"
    with pytest.raises(ResultError, match=r"gain\.layers\[0\]\.margin: must be a number"):
        Result.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "result", 3])
def test_what_is_no_mapping_is_refused(data):
    with pytest.raises(ResultError, match="not a result"):
        Result.from_dict(data)


def test_a_finished_run_has_scores_and_a_known_status():
    with pytest.raises(ResultError, match="scores"):
        Result.from_dict(changed(RESULT.to_dict(), "scores", None))
    with pytest.raises(ResultError, match="status: must be finished or diverged"):
        Result.from_dict(changed(RESULT.to_dict(), "status", "running"))


# --- other schemas ------------------------------------------------------------------------------


def test_schema_2_is_read_by_the_stated_rule():
    result = Result.from_dict(jsonio.loads(jsonio.dumps(SCHEMA_2)))
    assert result.schema == SCHEMA
    assert result.task.metric == "accuracy"
    assert result.scores == Scores(0.5, 1.0)
    assert result.gain.network == NetworkGains(None, 4.0, "", 3.0, attacked_from_zero=2.5)
    assert result.environment.packages == {"torch": "2.11"}
    # the network had been moved to the CPU before it was measured
    assert (result.environment.device, result.environment.measured_on) == ("NVIDIA H100", "cpu")
    assert result.gain.margin is None


def test_empty_scores_of_schema_2_mean_none():
    data = changed(changed(SCHEMA_2, "scores", {}), "status", "diverged")
    assert Result.from_dict(data).scores is None


@pytest.mark.parametrize("path", ["task", "gain", "environment", "gain.network", "gain.attacked"])
def test_what_is_missing_in_schema_2_is_named(path):
    with pytest.raises(ResultError, match=rf"{path.rpartition('.')[2]}: missing"):
        Result.from_dict(changed(SCHEMA_2, path))


@pytest.mark.parametrize("schema", [1, 0, None, "2", True])
def test_an_older_schema_is_refused_with_the_way_out(schema):
    with pytest.raises(SchemaError) as error:
        Result.from_dict(changed(SCHEMA_2, "schema", schema), "run/result.json")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.startswith("run/result.json: written by an older ssmbench")
    assert sentence.endswith("run it again with --force")


def test_a_newer_schema_is_refused_with_the_way_out():
    with pytest.raises(SchemaError) as error:
        Result.from_dict(changed(RESULT.to_dict(), "schema", SCHEMA + 2))
    assert str(error.value) == (
        "result: written by a newer ssmbench (schema 5, this one reads 2 to 3): update ssmbench"
    )
