"""Gains watched in training, speed, and progress."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from ssmbench.training.module import SequenceModule
from ssmbench.training.progress import EpochProgress, Pace, Speed, duration_words
from tests.training.runs import rows, train

FIGURES = ("spectral_radius", "margin", "verified_gain")


def gain_rows(folder) -> list[dict]:
    return [r for r in rows(folder) if "layer0/verified_gain" in r]


def every(n: int) -> dict:
    return {"every_n_epochs": n}


@pytest.mark.parametrize(("interval", "epochs"), [(1, [0, 1, 2, 3]), (2, [0, 2]), (3, [0, 3])])
def test_gains_are_logged_at_the_chosen_interval(tiny, tmp_path, interval, epochs):
    train(tiny(analysis=every(interval), model={"n_layers": 2}), tmp_path)
    found = gain_rows(tmp_path)
    assert [r["step"] for r in found] == [4 * (e + 1) for e in epochs]
    assert all(f"layer{i}/{name}" in r for r in found for i in (0, 1) for name in FIGURES)


def test_no_gains_with_interval_zero(tiny, tmp_path):
    train(tiny(analysis=every(0)), tmp_path)
    assert gain_rows(tmp_path) == []


def test_gains_go_to_tensorboard_too(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(analysis=every(1)), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    board = [e.value for e in events.Scalars("layer0/verified_gain")]
    assert board == pytest.approx([r["layer0/verified_gain"] for r in gain_rows(tmp_path)])


def test_declared_gain_is_logged_where_there_is_one(tiny, tmp_path):
    model = {"parametrization": {"name": "l2ru", "gamma": 2.5}, "discretizer": None}
    train(tiny(analysis=every(2), model=model), tmp_path)
    assert [r["layer0/declared_gain"] for r in gain_rows(tmp_path)] == pytest.approx([2.5, 2.5])
    (tmp_path / "s4d").mkdir()
    train(tiny(analysis=every(2)), tmp_path / "s4d")
    assert "layer0/declared_gain" not in gain_rows(tmp_path / "s4d")[0]


def test_logged_gain_is_that_of_the_weights(tiny, tmp_path):
    """The last epoch's figures, computed again from the last checkpoint."""
    from ssmbench.analysis.gain import analyse

    trained = train(tiny(analysis=every(3)), tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    trained.module.load_state_dict(state)
    report = analyse(trained.module.model.layers[0].system())
    assert gain_rows(tmp_path)[-1]["layer0/verified_gain"] == pytest.approx(report.hinf)


@pytest.mark.parametrize("parametrization", ["unconstrained_diagonal", "l2ru"])
def test_gains_are_infinite_not_nan_where_weights_are_lost(
    tiny, tmp_path, lose_weights, parametrization
):
    """Validation comes too late to stop the run before the gains are logged."""
    lose_weights(0)
    model = {"parametrization": parametrization}
    if parametrization == "l2ru":
        model |= {"discretizer": None}
    trainer = {"limit_train_batches": 1, "check_val_every_n_epoch": 2}
    train(tiny(analysis=every(1), model=model, trainer=trainer), tmp_path)
    (row,) = gain_rows(tmp_path)
    assert row["layer0/verified_gain"] == row["layer0/spectral_radius"] == math.inf
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


# --- speed --------------------------------------------------------------------------------------


def test_speed_leaves_out_the_first_steps_and_what_lies_between_steps(monkeypatch):
    now = 0.0
    monkeypatch.setattr("ssmbench.training.progress.time.perf_counter", lambda: now)
    speed = Speed()
    for k in range(8):
        speed.on_train_batch_start()
        now += 5.0 if k < 3 else 0.01
        speed.on_train_batch_end()
        now += 1.0  # validation, logging
    assert speed.steps_per_second == pytest.approx(100)


def test_no_speed_before_a_step_was_timed():
    speed = Speed()
    for _ in range(3):
        speed.on_train_batch_start()
        speed.on_train_batch_end()
    assert speed.steps_per_second is None


def test_speed_is_in_steps_of_the_optimizer(monkeypatch):
    now = 0.0
    monkeypatch.setattr("ssmbench.training.progress.time.perf_counter", lambda: now)
    speed = Speed(accumulated=4)
    for _ in range(11):
        speed.on_train_batch_start()
        now += 0.01
        speed.on_train_batch_end()
    assert speed.steps_per_second == pytest.approx(25)


# --- progress -----------------------------------------------------------------------------------


def epochs(lines: list[str]) -> list[str]:
    """The part of the training that each line says is done."""
    return [line.partition(" epoch ")[2].split()[0] for line in lines]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, ""),
        (1.2, "1 s"),
        (59.4, "59 s"),
        (61.0, "1 min"),
        (3590.0, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
    ],
)
def test_duration_words(seconds, words):
    assert duration_words(seconds) == words


def test_the_first_batches_do_not_count_for_the_time_left():
    """Ten batches an epoch, of 1 s after three of 100 s."""
    pace, now = Pace(), 0.0
    for batch in range(1, 21):
        now += 100.0 if batch <= 3 else 1.0
        pace.count(now, batch / 10)
        if batch == 1:
            assert pace.left(now, 0.1, 3.0) is None
        if batch > 3:
            assert pace.left(now, batch / 10, 3.0) == pytest.approx(30 - batch)


def test_progress_is_plain_lines_on_stderr_off_a_terminal(tiny, tmp_path, capfd):
    train(tiny(), tmp_path, "my label")
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert epochs(lines) == ["1/4", "2/4", "3/4", "4/4"]
    assert all(line.startswith("my label train/loss ") for line in lines)
    assert all("val/rmse" in line and " steps/s epoch " in line for line in lines)
    assert "\x1b" not in captured.err


def test_progress_of_a_long_run_is_some_ten_lines(tiny, tmp_path, capfd):
    config = tiny(trainer={"max_epochs": 40, "limit_train_batches": 1})
    train(config, tmp_path, "long")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == EpochProgress._LINES
    assert epochs(lines)[-1] == "40/40"


@pytest.fixture
def slow_batches(monkeypatch):
    """A batch takes 20 s by the clock of the progress and of the budget."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, perf_counter=lambda: clock.now)
    monkeypatch.setattr("ssmbench.training.progress.time", clock)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", clock)
    step = SequenceModule.training_step

    def slow(self, batch, batch_idx):
        clock.now += 20
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", slow)


def test_progress_within_a_long_epoch(tiny, tmp_path, capfd, slow_batches):
    """Four batches of 20 s in each of two epochs: a line after the second, and at the end."""
    train(tiny(trainer={"max_epochs": 2}), tmp_path, "slow")
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition("epoch ")[2] for line in lines] == [
        "0.50/2 2 min left",
        "1/2 1 min left",
        "1.50/2 40 s left",
        "2/2",
    ]
    assert lines[0].startswith("slow train/loss ")


def test_progress_of_a_budget_is_in_time(tiny, tmp_path, capfd, slow_batches):
    train(tiny(budget="2 h"), tmp_path, "budget")
    lines = [x.partition("epoch ")[2] for x in capfd.readouterr().err.splitlines()]
    assert lines[:3] == ["0.50 1 h 59 min left", "1 1 h 59 min left", "1.50 1 h 58 min left"]
    assert len(lines) < 70, "of 90 epochs"


def test_progress_on_a_terminal_has_the_time_left(tiny, tmp_path, capfd, monkeypatch, slow_batches):
    """Drawn at once: also where no tenth of a second passes before the next text."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("rich.live._RefreshThread.run", lambda self: None)
    train(tiny(trainer={"max_epochs": 2}), tmp_path, "bar")
    assert "min left" in capfd.readouterr().err


def test_progress_of_a_run_of_limited_steps(tiny, tmp_path, capfd):
    train(tiny(trainer={"max_epochs": -1, "max_steps": 8}), tmp_path, "steps")
    assert epochs(capfd.readouterr().err.splitlines()) == ["1/2", "2/2"]


def test_nothing_is_printed_without_a_label(tiny, tmp_path, capfd):
    train(tiny(), tmp_path)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bar_on_a_terminal_is_on_stderr_and_ends(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    train(tiny(), tmp_path, "bar")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "4/4" in captured.err


def test_bar_ends_when_training_fails(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stopped = []
    monkeypatch.setattr(
        "ssmbench.training.progress.Progress.stop", lambda self: stopped.append(True)
    )
    config = tiny(model={"parametrization": {"name": "mortal", "d_state": 4}})
    monkeypatch.setenv("TOY_DIE_AT", "5")
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path, "bar")
    assert stopped
