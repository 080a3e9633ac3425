"""The folder of a run that an earlier ssmbench wrote is still read: its config, weights, result.

``schema_2_run`` is such a folder: 2 steps of an S4D network on the digits, of November 2026, with
the path of its checkpoints made relative.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from ssmbench import jsonio
from ssmbench.config import fingerprint, read_yaml, resolve
from ssmbench.results import Gains, Result
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.load import attack_run, load_trained

STORED = Path(__file__).with_name("schema_2_run")
FINGERPRINT = "ae7736e25d99"


@pytest.fixture
def folder(workplace):
    return shutil.copytree(STORED, workplace / FINGERPRINT)


@pytest.fixture
def stored():
    return jsonio.loads((STORED / "result.json").read_text())


def test_its_config_keeps_its_name():
    assert fingerprint(resolve(read_yaml(STORED / "config.yaml"))) == FINGERPRINT


def test_its_run_is_complete(folder):
    assert RunFolder(folder).is_complete


def test_its_result_keeps_every_figure(stored):
    result = Result.from_dict(stored)
    kept = {f.name for f in dataclasses.fields(Gains)} & set(stored["gain"]) - {"network", "layers"}
    assert {"verified", "attacked", "margin", "violations"} <= kept
    for name in kept:
        assert result.gain.to_dict()[name] == stored["gain"][name]
    network = result.gain.network
    assert network.attacked_from_zero == stored["gain"]["network"]["attacked_from_silence"]
    assert network.bound == stored["gain"]["network"]["bound"]
    layer, known = result.gain.layers[0].to_dict(), stored["gain"]["layers"][0]
    assert {name: layer[name] for name in known} == known  # figures came to be beside them
    assert (result.scores.val, result.scores.test) == tuple(stored["scores"].values())
    assert result.scores.further is result.scores.last_val is result.scores.last_test is None
    assert [p.to_dict() for p in result.robustness] == stored["robustness"]
    assert result.environment.packages["torch"] == stored["environment"]["torch"]


def test_its_network_comes_back(folder, stored):
    found = attack_run(folder).gain.to_dict()
    assert load_trained(folder).model.parameter_count() == stored["parameters"]
    for name in ("verified", "spectral_radius"):
        assert found[name] == pytest.approx(stored["gain"][name], rel=1e-6)
    assert found["attacked"] == pytest.approx(stored["gain"]["attacked"], rel=1e-3)
    attacked = stored["gain"]["network"]["attacked"]
    assert found["network"]["attacked"] == pytest.approx(attacked, rel=1e-3)
