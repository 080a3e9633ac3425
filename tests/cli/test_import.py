"""``ssmbench import``: a checkpoint becomes a run that the other verbs read."""

import json

import numpy as np
import pytest

from ssmbench.registry import importers

QUICK = ["task.length=12", "analysis.attack_steps=1", "analysis.attack_restarts=1"]


@pytest.fixture
def weights(workplace):
    arrays = importers.get("s4").factory.example()
    np.savez(workplace / "s4.npz", **{name: np.float32(array) for name, array in arrays.items()})
    return "s4.npz"


def test_import_then_gain_and_attack(ssmbench, weights):
    made = ssmbench("import", weights, "--from", "s4", "-o", "run", "--json", *QUICK)
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert told["imported"]["layout"] == "s4"
    gains = json.loads(ssmbench("gain", "run", "--json").out)
    assert gains["verified"] == told["gain"]["verified"] < float("inf")
    assert ssmbench("attack", "run", "--steps", "1", "--restarts", "1").code == 0
    again = ssmbench("import", weights, "--from", "s4", "-o", "run", *QUICK)
    assert again.code == 2
    assert "exists already" in again.err
    options = ("--options", "prenorm=true", "--force")
    assert ssmbench("import", weights, "--from", "s4", "-o", "run", *options, *QUICK).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npz", "--from", "s4"), "no such file"),
        (("s4.npz", "--from", "s44"), "did you mean 's4'"),
        (("s4.npz", "--from", "s5"), "its keys are like those of layout s4"),
        (("s4.npz", "--from", "s4", "--options", "prenrm=true"), "prenrm"),
        (("s4.npz", "--from", "s4", "task=digits"), "reads 2 channels"),
        (("s4.npz",), "--from"),
    ],
)
def test_what_cannot_be_imported_ends_with_one_sentence(arguments, message, ssmbench, weights):
    answer = ssmbench("import", *arguments, "-o", "run")
    assert answer.code == 2, answer
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert message in lines[0]
