"""A trained network comes back from its folder as it was, and can be attacked there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from ssmbench import jsonio
from ssmbench.config import resolve
from ssmbench.errors import UsageError
from ssmbench.library.runs import read_result
from ssmbench.runs import execute as execution
from ssmbench.runs.execute import execute
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.load import WORST_INPUT, attack_run, load_trained
from ssmbench.runs.run import Run

BUDGET = {"attack_steps": 3, "attack_restarts": 4, "attack_seed": 5}


@pytest.fixture
def folder(tiny, workplace):
    """The folder of a run of one step."""
    config = resolve(tiny | {"seed": 1})
    assert execute(Run.of(config, workplace)) == "finished"
    return Run.of(config, workplace).folder.path


def test_the_network_comes_back_as_it_was_trained(tiny, workplace, monkeypatch):
    trained, train = [], execution.train
    monkeypatch.setattr(execution, "train", lambda *a: trained.append(train(*a)) or trained[0])
    config = resolve(tiny)
    execute(Run.of(config, workplace))
    run = load_trained(Run.of(config, workplace).folder.path)
    expected = trained[0].module.model.eval()
    u = run.task.sample_inputs("val", 3)
    assert torch.equal(run.model(u), expected(u))
    assert not run.model.training
    assert run.checkpoint.name == "best.ckpt"


def test_loading_leaves_the_global_generator_alone(folder):
    before = torch.get_rng_state()
    load_trained(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_last_weights_stand_in_for_the_best(folder):
    (folder / "checkpoints" / "best.ckpt").unlink()
    assert load_trained(folder).checkpoint.name == "last.ckpt"


def test_the_same_budget_finds_what_the_run_found(folder):
    found = attack_run(folder)
    assert found.gain == read_result(folder).gain
    assert found.attack_steps == load_trained(folder).config.analysis.attack_steps


def test_a_budget_of_ones_own_and_its_seed_count(folder):
    found = attack_run(folder, **BUDGET)
    assert {k: getattr(found, k) for k in BUDGET} == BUDGET
    assert found == attack_run(folder, **BUDGET)
    other = attack_run(folder, **BUDGET | {"attack_seed": 6})
    assert other.gain.network.attacked != found.gain.network.attacked


def test_a_run_leaves_its_worst_input(folder):
    with np.load(folder / WORST_INPUT) as saved:
        assert set(saved.files) == {"base", "disturbance", "gain", "amplitude", "gains_from"}
        assert saved["base"].shape == saved["disturbance"].shape == (64, 1)
        assert saved["amplitude"] == pytest.approx(np.linalg.norm(saved["disturbance"]))
        assert saved["gain"] == RunFolder(folder).result.gain.network.attacked


def test_the_worst_input_reproduces_its_gain_on_the_network_that_comes_back(folder):
    attack_run(folder, **BUDGET)
    model = load_trained(folder).model.double()
    with np.load(folder / WORST_INPUT) as saved, torch.no_grad():
        base, d = (torch.from_numpy(saved[k])[None].double() for k in ("base", "disturbance"))
        change = (model(base + d) - model(base)).norm().item() / saved["amplitude"]
        assert change == pytest.approx(float(saved["gain"]), rel=1e-4)


def test_weights_that_are_not_finite_leave_no_worst_input(folder):
    (folder / WORST_INPUT).unlink()
    for file in (folder / "checkpoints").iterdir():
        state = torch.load(file, weights_only=True)
        state["state_dict"]["model.decoder.weight"].fill_(float("nan"))
        torch.save(state, file)
    found = attack_run(folder)
    assert found.worst_input is None
    assert found.gain.network.attacked == float("inf")
    assert not (folder / WORST_INPUT).exists()


def test_a_worst_input_that_cannot_be_written_is_one_line(folder):
    (folder / WORST_INPUT).unlink()
    (folder / WORST_INPUT).mkdir()
    with pytest.raises(UsageError, match=r"worst_input\.npz: cannot be written: "):
        attack_run(folder, **BUDGET)


def test_the_network_comes_back_at_another_sampling_rate(folder):
    usual, faster = load_trained(folder).model, load_trained(folder, rate=0.5).model
    steps = [model.layers[0].system().poles() for model in (usual, faster)]
    assert torch.allclose(steps[0], steps[1] ** 2, rtol=1e-4)
    u = torch.randn(2, 64, 1)
    with usual.at_rate(0.5):
        assert torch.equal(usual(u), faster(u))


def test_an_attack_at_another_rate_has_a_file_of_its_own(folder):
    before = (folder / WORST_INPUT).read_bytes()
    found = attack_run(folder, rate=0.5, **BUDGET)
    assert found.rate == 0.5
    assert found.worst_input == str(folder / "worst_input_rate0.5.npz")
    assert (folder / WORST_INPUT).read_bytes() == before
    assert found.gain.verified != attack_run(folder, **BUDGET).gain.verified
    assert found.gain.violations == ()


def test_the_command_line_attacks_at_another_rate(folder, ssmbench):
    budget = ("--attack-steps", 3, "--attack-restarts", 4, "--seed", 5)
    answer = ssmbench("gain", folder, "--attack", "--rate", 0.5, *budget, "--json")
    assert answer.code == 0
    assert jsonio.loads(answer.out) == attack_run(folder, rate=0.5, **BUDGET).to_dict()
    answer = ssmbench("gain", folder, "--rate", 0.5)
    assert (answer.code, answer.err) == (2, "error: --rate: only applies with --attack\n")
    answer = ssmbench("gain", folder, "--attack", "--rate", 0)
    assert (answer.code, answer.out) == (2, "")
    assert "rate: must be positive" in answer.err


def test_a_discrete_network_has_no_other_rate(tiny, workplace):
    tiny["model"] |= {"parametrization": "l2ru", "discretizer": None}
    config = resolve(tiny)
    execute(Run.of(config, workplace))
    folder = Run.of(config, workplace).folder.path
    with pytest.raises(UsageError, match="L2RU has no other sampling rate"):
        load_trained(folder, rate=2.0)


# --- refusals -----------------------------------------------------------------------------------


def other_width(folder):
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("d_model: 4", "d_model: 6"))


def damaged(folder):
    for file in (folder / "checkpoints").iterdir():
        file.write_bytes(b"not a checkpoint")


def foreign(folder):
    torch.save({"something": 1}, folder / "checkpoints" / "best.ckpt")


def unknown_part(folder):
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("name: s4d", "name: s4x"))


TROUBLES = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no config": (lambda f: (f / "config.yaml").unlink(), "not the folder of a run"),
    "no checkpoint": (lambda f: shutil.rmtree(f / "checkpoints"), "no checkpoint in it"),
    "another network": (other_width, "does not fit the network of config.yaml"),
    "damaged": (damaged, "not a checkpoint"),
    "foreign": (foreign, "not a checkpoint: it is damaged, or it holds no weights"),
    "a part that is gone": (unknown_part, "unknown parametrization 's4x'"),
}


@pytest.mark.parametrize("what", TROUBLES)
def test_folders_that_cannot_be_used(what, folder):
    spoil, message = TROUBLES[what]
    spoil(folder)
    with pytest.raises(UsageError, match=message) as error:
        load_trained(folder)
    assert "\n" not in str(error.value)
