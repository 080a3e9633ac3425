"""Runs with a time-varying layer: nothing is verified, and everything says so."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench import jsonio
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import AnalysisConfig
from ssmbench.systems import FROZEN_ONLY
from ssmbench.training.gains import measure_gains
from ssmbench.training.layer_analysis import poles
from ssmbench.training.monitor import gain_figures
from tests.training.runs import rows as metrics
from tests.training.runs import train

SELECTIVE = {"parametrization": {"name": "selective", "d_state": 3, "dt_min": 0.1}, "n_layers": 2}
CONFIG = AnalysisConfig(attack_steps=8, attack_restarts=4)


@pytest.fixture
def network(tiny):
    from ssmbench.config import typed

    config = typed(tiny(model=SELECTIVE))
    torch.manual_seed(0)
    task = build_task(config)
    return build_network(config, task.sizes), task.sample_inputs("val", 4)


def test_gains_of_a_network_that_has_none(network):
    model, inputs = network
    found = measure_gains(model, inputs, CONFIG)
    gain = found.gain
    assert gain.declared is gain.verified is None
    assert gain.note == FROZEN_ONLY == "time-varying: a gain exists only frozen in time"
    assert gain.violations == ()
    assert gain.network.bound == math.inf
    assert "no global Lipschitz constant" in gain.network.reason
    assert gain.network.attacked > 0
    for layer in gain.layers:
        assert (layer.verified, layer.note) == (None, FROZEN_ONLY)
        assert 0 < layer.attacked < math.inf
        assert layer.spectral_radius < 1
    assert gain.frozen == max(layer.frozen for layer in gain.layers)
    assert jsonio.dumps(gain.to_dict())
    assert gain.spectral_radius == pytest.approx(max(p.abs().max().item() for p in found.poles))


def test_frozen_gain_is_that_of_the_system_at_one_of_the_steps(network):
    """Of the first layer, by hand: its input is the encoder's output."""
    model, inputs = network
    layer, u = model.layers[0], model.encoder(inputs[:2])
    with torch.no_grad():
        system = layer.system_for(u)
    all_steps = [
        hinf_norm(system.at(b, k).double()).norm.max().item()
        for b in range(2)
        for k in range(system.length)
    ]
    frozen = measure_gains(model, inputs, CONFIG).gain.layers[0].frozen
    assert min(abs(frozen / gain - 1) for gain in all_steps) < 1e-6
    assert frozen <= max(all_steps) * (1 + 1e-6)


def test_measuring_leaves_the_network_as_it_was(network):
    model, inputs = network
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    gain_figures(model, inputs)
    measure_gains(model, inputs, CONFIG)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(layer._forward_pre_hooks for layer in model.layers)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_without_inputs_there_are_no_figures_and_no_poles(network):
    model, _ = network
    assert gain_figures(model) == {}
    assert [len(p) for p in poles(model)] == [0, 0]


def test_frozen_gains_are_watched_in_training(tiny, tmp_path):
    train(tiny(model=SELECTIVE, analysis={"every_n_epochs": 2}), tmp_path)
    found = [r for r in metrics(tmp_path) if "layer1/frozen_gain" in r]
    assert len(found) == 2
    assert all(0 < r["layer0/frozen_gain"] < math.inf for r in found)
    assert all(r["layer0/spectral_radius"] < 1 for r in found)
    assert not any("verified_gain" in key for r in found for key in r)


def test_lost_weights_are_infinite_not_nan(tiny, tmp_path, lose_weights):
    lose_weights(0)
    trainer = {"limit_train_batches": 1, "check_val_every_n_epoch": 2}
    config = tiny(model=SELECTIVE, analysis={"every_n_epochs": 1}, trainer=trainer)
    trained = train(config, tmp_path)
    (row,) = [r for r in metrics(tmp_path) if "layer0/frozen_gain" in r]
    assert row["layer0/frozen_gain"] == row["layer0/spectral_radius"] == math.inf
    inputs = trained.task.sample_inputs("val", 4)
    found = measure_gains(trained.module.model, inputs, CONFIG)
    assert found.gain.attacked == found.gain.frozen == math.inf
    assert found.gain.verified is None
    assert all(p.isinf().all() for p in found.poles)


# --- from the command line ------------------------------------------------------------------------


@pytest.fixture
def selective(write):
    from tests.conftest import TINY

    model = TINY["model"] | {"parametrization": {"name": "selective", "d_state": 3}}
    return write("run.yaml", TINY | {"model": model})


def test_run_and_gain_say_what_there_is(ssmbench, selective):
    done = ssmbench("run", selective)
    assert done.code == 0
    assert FROZEN_ONLY in done.out
    (folder,) = (selective.parent / "outputs" / "runs").iterdir()
    gain = jsonio.loads(ssmbench("gain", folder, "--json").out)
    assert (gain["verified"], gain["note"]) == (None, FROZEN_ONLY)
    assert gain["frozen"] > 0
    attacked = ssmbench("gain", folder, "--attack")
    assert attacked.code == 0
    assert f"{FROZEN_ONLY}; largest" in attacked.out
    assert "no certificate" in attacked.out


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.gamma=3", "no finite certificate because an SSM layer is time-varying"),
        ("model.normaliser.name=hinf", "Selective takes no normaliser: time-varying"),
    ],
)
def test_promises_that_it_cannot_keep_are_refused(ssmbench, selective, override, says):
    refused = ssmbench("run", selective, override)
    assert refused.code == 2
    assert says in refused.err
    assert refused.err.count("\n") == 1


def test_report_notes_it(ssmbench, selective):
    from ssmbench.report.collect import RunRecord
    from ssmbench.report.contents import About, contents
    from ssmbench.report.statistics import rows
    from ssmbench.report.writers.markdown import to_markdown
    from ssmbench.runs.folder import RunFolder

    assert ssmbench("run", selective).code == 0
    (path,) = (selective.parent / "outputs" / "runs").iterdir()
    folder = RunFolder(path)
    names = {"task": "digits", "variant": "Selective", "discretizer": "zoh"}
    record = RunRecord(
        **names, seed=0, fingerprint=path.name, state=folder.state, result=folder.result
    )
    (row,) = rows([record])
    assert (row.verified, row.note) == (None, FROZEN_ONLY)
    page = to_markdown(contents([record], About("small")))
    assert f"## Notes\n\n- digits, Selective, zoh: {FROZEN_ONLY}; largest at sampled times" in page
    assert "| none | none |" in page  # declared and verified
