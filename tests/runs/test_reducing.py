"""Runs with reduced layers: the network that is stored, and what is measured of it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

import ssmbench as sb
from ssmbench.build.check import check_even
from ssmbench.build.task import build_task
from ssmbench.cli.printing.reduction import print_reduction
from ssmbench.config import merge, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.nn.stored_systems import StoredSystems
from ssmbench.reduction import Amount
from ssmbench.runs.load import TrainedRun, load_trained, untrained
from ssmbench.runs.reduced_layers import ReductionRequest, reduced_layers
from ssmbench.runs.reduced_network import stored_config, stored_weights
from ssmbench.runs.reducing import output_change_of, proved_errors
from ssmbench.training.relaxing import promised_lengths
from tests.conftest import TINY

CANNOT = "the layers of such a run cannot be reduced"
REQUEST = ReductionRequest(Amount(order=2))
TOKENS = {"name": "noise", "vocabulary": 5, "length": 12, "outputs": 3}
LAYERS = {
    "s4d": {"parametrization": {"name": "s4d", "d_state": 8}, "discretizer": "zoh"},
    "s5": {"parametrization": {"name": "s5", "d_state": 8}, "discretizer": "bilinear"},
    "lru": {"parametrization": {"name": "lru", "d_state": 8}},
    "l2ru": {"parametrization": {"name": "l2ru"}, "gamma": 5.0},
    "hinf": {
        "parametrization": {"name": "s4d", "d_state": 8},
        "discretizer": "zoh",
        "normaliser": {"name": "hinf", "gamma": 2.0},
        "gamma": 5.0,
        "nonlinearity": "sll",
    },
    "after": {
        "parametrization": {"name": "s4d", "d_state": 8},
        "discretizer": "zoh",
        "readout": "after",
    },
    "both directions": {
        "parametrization": {"name": "s4d", "d_state": 8},
        "discretizer": "zoh",
        "bidirectional": True,
        "tied": True,
    },
    "repeated": {"parametrization": {"name": "lru", "d_state": 8}, "repeats": 2},
    "framed": {"parametrization": {"name": "lru", "d_state": 8}, "frame": 4, "pooling": "last"},
    "oscillators": {
        "parametrization": {"name": "linoss", "d_state": 8},
        "discretizer": "backward_euler",
    },
}


def network(name: str, **more) -> tuple[dict, TrainedRun]:
    model = {"d_model": 8, "n_layers": 2, "discretizer": None, **LAYERS[name], **more}
    config = resolve(merge(TINY | {"model": {}}, {"model": model}), "test")
    run = typed(config)
    torch.manual_seed(0)
    task = build_task(run)
    return config, TrainedRun(run, task, untrained(run, task.sizes).eval(), None)


def stored(config: dict, run: TrainedRun, amount: Amount):
    """The network with reduced layers, and the one whose layers hold the reduced systems."""
    found = reduced_layers(run.model, ReductionRequest(amount))
    systems = StoredSystems.of(run.model, {layer: r.system for layer, r in found.items()})
    own = stored_config(config, run.model, systems)
    model = untrained(typed(own), run.task.sizes)
    model.load_state_dict(stored_weights(run.model, model, systems))
    held = freeze(run.model)
    for layer, r in zip(held.layers, found.values(), strict=True):
        layer.hold(r.system)
    return own, model.eval(), held


@pytest.mark.parametrize("name", LAYERS)
def test_the_stored_network_is_the_one_with_the_reduced_systems(name):
    config, run = network(name)
    own, model, held = stored(config, run, Amount(share=0.5))
    u = torch.rand(3, 64, 1)
    assert torch.allclose(model(u), held(u), atol=2e-5)
    assert own["model"]["parametrization"]["name"] == "discrete_matrices"
    before = sum(layer.system().states for layer in run.model.layers)
    assert sum(layer.system().states for layer in model.layers) < before


@pytest.mark.parametrize("name", ["l2ru", "hinf"])
def test_without_a_reduction_a_certified_network_stays_what_it_is(name):
    config, run = network(name)
    own, model, _ = stored(config, run, Amount(tolerance=1e-9))
    u = torch.rand(3, 64, 1)
    assert own["model"]["gamma"] is None
    assert torch.allclose(model(u), run.model(u), atol=2e-5)


def test_layers_have_as_many_states_as_each_needs():
    config, run = network("lru")
    with torch.no_grad():
        run.model.layers[1].parametrization.C[:, 2:] = 0
    own, model, _ = stored(config, run, Amount(tolerance=1e-3))
    first, second = (layer.system().states for layer in model.layers)
    assert second <= 2 < first
    assert own["model"]["layer_states"] == [2 * first, 2 * second]


def test_what_cannot_be_reduced_names_the_layer():
    _, run = network("lru", initial_state="learned")
    with pytest.raises(UsageError, match=r"^layer 0 \(LRU\) starts from a learned state"):
        reduced_layers(run.model, ReductionRequest(Amount(order=2)))
    _, run = network("lru", parametrization={"name": "contraction_selective", "d_state": 4})
    message = r"^layer 0 \(ContractionSelective\) is time-varying: it cannot be reduced"
    with pytest.raises(UsageError, match=message):
        reduced_layers(run.model, ReductionRequest(Amount(order=2)))


def test_a_reducer_that_regards_inputs_records_them_on_the_training_data():
    _, run = network("s4d")
    request = ReductionRequest(Amount(order=2), "input_weighted")
    with pytest.raises(UsageError, match=r"^input_weighted: needs a task"):
        reduced_layers(run.model, request)
    weighted = reduced_layers(run.model, request, run.task)
    plain = reduced_layers(run.model, REQUEST)
    u = run.model.as_input(run.task.sample("val", 16).u)
    assert change(run, weighted, u) < 0.9 * change(run, plain, u)


def test_a_joint_share_is_one_of_the_whole_network():
    _, run = network("s4d")
    with torch.no_grad():
        run.model.layers[1].parametrization.C[..., 1:, :] *= 1e-6
    request = ReductionRequest(Amount(share=0.5, joint=True))
    found = list(reduced_layers(run.model, request, run.task).values())
    first, second = (one.orders.double().mean() for one in found)
    assert second < first
    assert (first + second) / (2 * found[0].order) <= 0.5
    with pytest.raises(UsageError, match=r"^joint: needs a task"):
        reduced_layers(run.model, request)


@torch.no_grad()
def change(run: TrainedRun, found, u) -> float:
    held = freeze(run.model)
    for layer, one in zip(held.layers, found.values(), strict=True):
        layer.hold(one.system)
    return float((held(u) - run.model(u)).norm())


def test_states_of_layers_are_checked():
    with pytest.raises(UsageError, match="one number for each of 2 blocks, got 1"):
        network("s4d", layer_states=[4])
    _, run = network("s4d", layer_states=[4, 6])
    assert [layer.system().states for layer in run.model.layers] == [2, 3]


# --- the whole ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> sb.Run:
    over = {"analysis.robustness": False, "analysis.figures": 0, "model.parametrization.d_state": 8}
    over |= {f"trainer.limit_{split}_batches": 1.0 for split in ("val", "test")}
    root = tmp_path_factory.mktemp("runs")
    return sb.train(copy.deepcopy(TINY), over, output=root, progress=False)


@pytest.fixture(scope="module")
def reduced(trained):
    return sb.reduce_run(trained, share=0.5, output=trained.folder.parent / "small")


def test_the_report_has_both_networks(trained, reduced):
    assert reduced.source == str(trained.folder)
    assert reduced.removed == 0.5
    assert [layer.kept for layer in reduced.layers] == [4]
    for layer in reduced.layers:
        assert layer.hinf_error <= min(layer.bound, layer.proved_error)
        assert layer.above_bound == 0
        assert layer.gain_after <= layer.gain + layer.proved_error
    assert 0 < reduced.attacked_change <= reduced.declared_change
    assert reduced.before.scores.test == trained.scores.test
    assert reduced.after.cost.state_numbers < reduced.before.cost.state_numbers
    assert reduced.after.cost.step_seconds > 0


def test_the_new_run_evaluates_streams_and_trains(trained, reduced):
    run = sb.load(reduced.folder)
    assert run.state == "finished"
    assert run.scores == reduced.after.scores
    assert run.result.imported.options == {"reducer": "balanced_truncation", "share": "0.5"}
    model, u = load_trained(run.folder).model, torch.rand(2, 64, 1)
    whole, (streamed, _) = model(u), model.stream(u)
    assert torch.allclose(whole, streamed, atol=1e-5)
    whole.sum().backward()
    assert all(p.grad is not None for p in model.layers[0].parameters())
    goes_on = sb.train(
        run.folder / "config.yaml",
        {"start": str(run.folder), "optimizer.lr": 1e-9, "optimizer.ssm_lr": 1e-9},
        output=trained.folder.parent,
        progress=False,
    )
    assert goes_on.scores.test == pytest.approx(run.scores.test, abs=1e-3)
    assert goes_on.config["start_digest"]


def test_a_start_that_is_none_says_so(trained, tmp_path):
    config = copy.deepcopy(TINY)
    with pytest.raises(UsageError, match="not the folder of a trained run"):
        sb.train(config, {"start": str(tmp_path)}, output=tmp_path / "a", progress=False)
    over = {"start": str(trained.folder), "model.d_model": 6}
    with pytest.raises(UsageError, match="does not fit the network"):
        sb.train(config, over, output=tmp_path / "b", progress=False)
    over = {"start": str(trained.folder), "start_digest": "0" * 16}
    with pytest.raises(UsageError, match="leave start_digest out"):
        sb.train(config, over, output=tmp_path / "c", progress=False)


def test_an_occupied_folder_is_refused(trained, reduced):
    with pytest.raises(UsageError, match="exists already"):
        sb.reduce_run(trained, share=0.5, output=reduced.folder)


def test_rounding_beyond_the_bound_is_said(reduced, capsys):
    print_reduction(reduced, as_json=False)
    assert "rounding exceeds the bound" not in capsys.readouterr().out
    rounded = tuple(dataclasses.replace(layer, above_bound=2) for layer in reduced.layers)
    print_reduction(dataclasses.replace(reduced, layers=rounded), as_json=False)
    said, heads = capsys.readouterr().out, reduced.layers[0].heads
    assert f"layer 0: rounding exceeds the bound in 2 of {heads} heads" in " ".join(said.split())


def test_errors_are_proved_of_the_stored_layers():
    """With a mode of the stored network moved, the proved error is that of what is stored."""
    config, run = network("s4d", n_layers=1)
    _, model, _ = stored(config, run, Amount(share=0.25))
    before = proved_errors(run.model, model)
    with torch.no_grad():
        model.layers[0].parametrization.D.add_(1.0)
    after = proved_errors(run.model, model)
    assert before[0] + 0.5 < after[0] <= before[0] + 1 + 1e-3


def test_the_source_is_not_written_over(trained, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(trained.folder)
    for folder in (trained.folder, link, trained.folder.parent, trained.folder / "small"):
        with pytest.raises(UsageError, match="is, holds or lies in the run that is reduced"):
            sb.reduce_run(trained, share=0.5, output=folder, force=True)
    assert sb.load(trained.folder).state == "finished"


@pytest.mark.parametrize("norm", [-1.0, 0.0, float("nan"), float("inf"), 1e200, 1e-200])
def test_a_norm_out_of_range_is_refused_before_anything_is_written(trained, tmp_path, norm):
    with pytest.raises(UsageError, match="norm: must be between 1e-12 and 1e"):
        sb.reduce_run(trained, share=0.5, norm=norm, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_uneven_samples_are_refused_before_the_folder_is_cleared():
    _, run = network("s4d")
    check_even(run.task, CANNOT)
    run.task.conditions = dataclasses.replace(run.task.conditions, test_dropped=(0.5,))
    with pytest.raises(UsageError, match=f"at uneven times: {CANNOT}"):
        check_even(run.task, CANNOT)


def test_the_change_is_certified_for_all_lengths_of_the_task():
    _, run = network("l2ru", n_layers=1, d_model=4)
    assert run.task.split("val").lengths is None
    full = freeze(run.model)
    lengths = promised_lengths(run.task, per_step=False)
    run.config.analysis.network_bound = 0.01
    change = output_change_of(full, freeze(full), run.task, run.config.analysis, REQUEST)
    assert change.lengths == lengths == (64,)


def test_the_command_line(ssmbench, trained, tmp_path):
    answer = ssmbench("reduce", str(trained.folder), "--order", "2", "-o", str(tmp_path / "new"))
    assert answer.code == 0, answer.err
    assert "certified, for inputs of norm at most 1 of 64 steps" in answer.out
    assert "75.0% of the states removed" in answer.out
    assert ssmbench("reduce", str(trained.folder)).code == 2
    wrong = ssmbench("reduce", str(trained.folder), "--order", "2", "--reducer", "balancd")
    assert "balanced_truncation" in wrong.err
