"""Published runs of weights that were given, reduced or imported, and of truncated layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from torch.nn.functional import pad

import ssmbench as sb
from ssmbench.errors import UsageError
from ssmbench.publication.layout import read_leaderboard, read_result
from ssmbench.publication.write import publish
from ssmbench.runs.load import load_trained
from tests.conftest import TINY
from tests.publication.forging import Forger

OVER = {
    "analysis.robustness": False,
    "analysis.figures": 0,
    "model.parametrization.d_state": 8,
    "trainer.limit_test_batches": 1.0,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with a reduced and an imported run."""
    root = tmp_path_factory.mktemp("given")
    trained = sb.train(copy.deepcopy(TINY), OVER, output=root, progress=False)
    sb.reduce_run(trained, share=0.5, output=root / "small")
    np.savez(root / "layer.npz", **{f"blocks.0.layer.{name}": np.eye(2) / 2 for name in "ABCD"})
    sb.import_run(root / "layer.npz", "npz", {"analysis.attack_steps": 1}, output=root / "imported")
    for run in ("small", "imported"):
        publish(root / run, root / "published")
    return root / "published"


@pytest.fixture
def made(given, tmp_path):
    labels = sorted(entry.label for entry in read_leaderboard(given))
    return Forger(given, tmp_path / "forged", *labels)


def test_given_weights_are_verified_and_said_to_be_given(made):
    found = made.verify(with_data=True)
    assert [str(one) for one in found.verdicts if not one.accepted] == []
    notes = [note for one in found.verdicts for note in one.not_checked]
    where = [note for note in notes if note.startswith("where the weights are from: given, not")]
    assert len(where) == 2
    assert any("best.ckpt (reduced, reducer balanced_truncation, share 0.5)" in n for n in where)
    assert any("from layer.npz (npz" in note for note in where)
    for run in (made.run(0), made.run(1)):
        assert (
            "Its weights were given, not trained by the config" in (run / "README.md").read_text()
        )


@pytest.mark.parametrize("index", [0, 1])
def test_a_lie_about_given_weights_is_rejected(made, index):
    made.weights(lambda w: w.update({k: 1.5 * v for k, v in w.items() if k.endswith(".C")}), index)
    assert "verified gain is" in made.reasons(index)


@pytest.mark.parametrize(
    ("variant", "lie", "says"),
    [
        ("npz", lambda r: r["imported"].update(sha256="0" * 64), "not that of its folder"),
        ("reduced", lambda r: r.update(imported=None), "not that of its folder"),
        ("npz", lambda r: r["imported"].update(layout="s4"), "is 'npz', but config.yaml has 's4'"),
    ],
)
def test_a_lie_about_where_they_are_from_is_rejected(made, variant, lie, says):
    index = next(i for i, entry in enumerate(made.entries) if entry.variant == variant)
    made.result(lie, index)
    assert says in made.reasons(index)


@pytest.mark.parametrize("file", ["x" * 10_000, "a\nb"])
def test_a_note_is_one_short_line_whatever_the_name_of_the_file(made, file):
    index = next(i for i, entry in enumerate(made.entries) if entry.variant == "npz")
    made.result(lambda r: r["imported"].update(file=file), index)
    notes = made.verify().verdicts[index].not_checked
    (note,) = (note for note in notes if note.startswith("where the weights are from"))
    assert len(note) < 250
    assert "\n" not in note


# --- truncated in training ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """A folder with a run that has truncated twice."""
    root = tmp_path_factory.mktemp("twice")
    over = OVER | {"truncation": {"epochs": [1, 2], "share": 0.4}, "trainer.max_epochs": 3}
    run = sb.train(copy.deepcopy(TINY), over, output=root, progress=False)
    publish(run.folder, root / "published")
    return root / "published"


@pytest.fixture
def truncated(twice, tmp_path):
    (entry,) = read_leaderboard(twice)
    return Forger(twice, tmp_path / "forged", entry.label)


def test_a_truncated_run_is_verified_and_loaded(truncated):
    found = truncated.verify(with_data=True)
    assert [str(one) for one in found.verdicts if not one.accepted] == []
    load_trained(truncated.run())


def test_truncations_do_not_do_away_with_a_prescribed_gain(truncated):
    def certified(config):
        config["model"] |= {"gamma": 1.0, "discretizer": None}
        config["model"]["parametrization"] = {"name": "l2ru"}

    name = {"variant": "l2ru", "parametrization": "l2ru", "discretizer": None}
    truncated.config(certified)
    truncated.result(lambda r: r.update(name))
    truncated.listed(variant="l2ru", discretizer="none")
    says = "model.gamma prescribes a gain, but the layers hold free matrices"
    assert says in truncated.reasons()


def test_truncations_do_not_make_a_larger_network(truncated):
    """Its systems have the gains of the honest ones: states are added that no input reaches."""
    (entry,) = truncated.entries
    (states,) = read_result(truncated.folder, entry).truncations[1].states
    more, name = (16 - states) // 2, "blocks.0.layer.parametrization."
    places = {
        "log_decay": (0, more),
        "angle": (0, more),
        "B": (0, 0, 0, 0, 0, more),
        "C": (0, 0, 0, more),
    }
    added = []

    def weights(found):
        for key, place in places.items():
            before = found[name + key]
            found[name + key] = pad(before, place)
            added.append(found[name + key].numel() - before.numel())

    def result(found):
        found["parameters"] = count
        found["truncations"][1].update(states=[16], parameters=count)

    truncated.weights(weights)
    count = entry.parameters + sum(added)
    truncated.result(result)
    truncated.listed(parameters=count)
    assert "truncations[1]: 16 states are stored, of at most 6" in truncated.reasons()


def _change(index, layer=None, **changes):
    def lie(result):
        one = result["truncations"][index]
        (one if layer is None else one["layers"][layer]).update(changes)

    return lie


def _add_layer(result):
    result["truncations"][1]["layers"] *= 2


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (_change(1, heads=1), "heads are (1, 4), but it had 4"),
        (_change(1, 0, heads=2), "heads are (4, 2), but it had 4"),
        (_change(0, form="dense", states=[16]), "16 states are stored, of at most 8"),
        (_change(1, form="dense", states=[8]), "8 states are stored, of at most"),
        (_change(0, states=[2]), "truncations[1]: layer 0: order is 6, but it had 2"),
        (_change(0, 0, order=9), "truncations[0]: layer 0: order is 9, but it had 8"),
        (_change(1, 0, kept=9), "kept is 9, not in 0..6"),
        (_change(1, 0, kept=-1), "kept is -1, not in 0..6"),
        (_change(0, step=0), "do not increase"),
        (_change(1, step=1), "do not increase"),
        (_change(1, parameters=7), "7 parameters after the truncations, but"),
        (_add_layer, "has states of 1 blocks and 2 layers, but the network has 1 and 1"),
        (_change(1, form="x" * 10_000), "form is 'xxx"),
        (_change(1, states=[]), "states must have a number in 1.."),
        (_change(1, states=[10**30]), "states must have a number in 1.."),
        (_change(1, heads=0), "heads must be positive, got 0"),
    ],
)
def test_a_lie_about_truncations_is_rejected(truncated, lie, says):
    truncated.result(lie)
    reasons = truncated.reasons()
    assert says in reasons
    assert len(reasons) < 300


def test_imported_weights_were_not_truncated(made, twice):
    (entry,) = read_leaderboard(twice)
    done = [one.to_dict() for one in read_result(twice, entry).truncations]
    made.result(lambda r: r.update(truncations=done))
    assert "weights that were given have no truncations in training" in made.reasons()


@pytest.mark.parametrize("changes", [{"states": []}, {"form": "no"}, {"states": [2**19]}])
def test_a_published_run_of_impossible_truncations_is_not_loaded(truncated, changes):
    truncated.result(_change(1, **changes))
    with pytest.raises(UsageError, match=r"^result\.json: truncations"):
        load_trained(truncated.run())
