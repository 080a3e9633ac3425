"""Published runs of weights that were given: reduced, or imported."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import ssmbench as sb
from ssmbench.publication.layout import read_leaderboard
from ssmbench.publication.write import publish
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
