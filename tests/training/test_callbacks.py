"""Callbacks by name: averaged weights, early stopping, those of a plugin."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.config import fingerprint, resolve
from ssmbench.errors import UsageError
from ssmbench.training.callbacks.averaging import _moving_average
from tests.snippets import blocks
from tests.training.runs import check, rows, train
from tests.training.test_resume import MISLED, assert_same, interrupted

EMA = {"name": "ema", "decay": 0.5}
STOP = {"name": "early_stopping", "patience": 2}


class Recorder(pl.Callback):
    """Keeps the weights after every optimizer step."""

    seen: list = []

    def __init__(self, config, *, task):
        pass

    def on_train_batch_end(self, trainer, pl_module, *args):
        weights = {name: w.clone() for name, w in pl_module.model.state_dict().items()}
        self.seen.append(weights)


def checkpoint(folder, name: str):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_averaged_weights_are_those_of_the_formula(tiny, tmp_path):
    """w0 = x0; then w = d w + (1 - d) x with d = min(decay, (1 + n) / (10 + n)), n = 1, 2, ..."""
    registry.callbacks.register("recorder")(Recorder)
    Recorder.seen.clear()
    train(tiny(callbacks=["recorder", EMA]), tmp_path)
    first, *others = Recorder.seen
    expected = {name: w.clone() for name, w in first.items()}
    for n, weights in enumerate(others, 1):
        d = min(0.5, (1 + n) / (10 + n))
        for name, value in weights.items():
            expected[name] = d * expected[name] + (1 - d) * value
    last = checkpoint(tmp_path, "last")
    for name, value in expected.items():
        torch.testing.assert_close(last["state_dict"][f"model.{name}"], value)
        assert torch.equal(last["current_model_state"][f"model.{name}"], others[-1][name])


def test_averaged_weights_are_validated_and_kept(tiny, tmp_path):
    """The best score of the training is that of the weights in best.ckpt, tested afterwards."""
    trained = train(tiny(callbacks=[EMA]), tmp_path)
    written = rows(tmp_path)
    assert min(r["val/rmse"] for r in written if "val/rmse" in r) == trained.scores.val
    assert [r["best/val/rmse"] for r in written if "best/val/rmse" in r] == [trained.scores.val]
    best = checkpoint(tmp_path, "best")["state_dict"]
    for name, value in trained.module.state_dict().items():
        assert torch.equal(best[name], value)


@pytest.mark.parametrize("misled", [False, True])
def test_the_best_average_is_tested_not_the_last_one(tiny, tmp_path, misled):
    task = {"name": "toy", "misled": misled, "per_step": True}
    trained = train(tiny(task=task, callbacks=[EMA]), tmp_path)
    scores = [r["val/rmse"] for r in rows(tmp_path) if "val/rmse" in r]
    assert trained.scores.val == min(scores)
    assert trained.scores.last_val == scores[-1]
    assert (trained.scores.val < trained.scores.last_val) or not misled


@given(st.floats(-1e6, 1e6), st.floats(0, 0.999), st.integers(1, 10_000))
def test_the_average_of_a_constant_is_that_constant(value, decay, seen):
    constant = torch.tensor([value, -value])
    average = _moving_average(decay)
    assert torch.equal(average(constant, constant, torch.tensor(seen)), constant)
    count = torch.tensor([seen])
    assert torch.equal(average(count - 1, count, torch.tensor(seen)), count)


@pytest.mark.parametrize("death", [6, 11])
@pytest.mark.parametrize("trainer", [{}, {"val_check_interval": 0.5}], ids=["epoch", "half"])
def test_a_resumed_run_is_the_uninterrupted_one(
    mortal, tmp_path, monkeypatch, once, death, trainer
):
    config = mortal(callbacks=[EMA, STOP], trainer=trainer, optimizer={"lr": 0.05})
    whole, folder = once(train, config)
    found = interrupted(config, tmp_path / "resumed", monkeypatch, death)
    assert_same(found, whole)
    assert found.notes == whole.notes
    assert rows(tmp_path / "resumed") == rows(folder)


def test_training_ends_where_the_score_stays_as_it_is(tiny, tmp_path):
    """Validation punishes what training teaches: the first of four epochs is the best."""
    config = tiny(task=MISLED, callbacks=[STOP])
    stopped = train(config, tmp_path)
    assert stopped.steps == 12
    (note,) = stopped.notes
    assert note == (
        "early_stopping: the training ended after 2 validations in a row without a better rmse"
    )
    again = train(config, tmp_path)  # as after an interruption before the scores were written
    assert_same(again, stopped)
    assert again.notes == stopped.notes


def test_a_score_that_improves_stops_nothing(tiny, tmp_path):
    trained = train(tiny(callbacks=[{"name": "early_stopping", "patience": 50}]), tmp_path)
    assert (trained.steps, trained.notes) == (16, ())


def test_learning_rates_are_logged(tiny, tmp_path):
    train(tiny(callbacks=["learning_rates"]), tmp_path)
    assert any(key.startswith("lr-") for row in rows(tmp_path) for key in row)


def test_a_plugins_callback_is_called(tiny, tmp_path, monkeypatch):
    (block,) = (b for b in blocks("python") if b.head == "# file: gradient_norm.py")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "gradient_norm.py").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    config = tiny(callbacks=[{"name": "gradient_norm", "order": 1}])
    assert config["sources"]["callbacks.0"]
    train(config, tmp_path)
    logged = [r["step"] for r in rows(tmp_path) if "train/gradient_norm" in r]
    assert logged == list(range(16))
    assert fingerprint(config) != fingerprint(tiny())


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [
        (["emma"], "unknown callback 'emma'"),
        ([{"name": "ema", "decay": 1.0}], r"callbacks.0.decay: must be in \[0, 1\)"),
        ([{"name": "early_stopping", "patience": 0}], "callbacks.0.patience: must be positive"),
        ("ema", "callbacks: must be a list of callbacks"),
    ],
)
def test_wrong_callbacks_are_refused(callbacks, says):
    with pytest.raises(UsageError, match=says):
        resolve({"callbacks": callbacks})


def test_the_same_callback_twice_is_refused_before_training(tiny):
    with pytest.raises(UsageError, match=r"trainer: .*more than one stateful callback"):
        check(tiny(callbacks=[EMA, EMA]))
