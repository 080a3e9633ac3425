"""A run that was interrupted and called again ends exactly where an uninterrupted one ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.trainer import Trained
from tests.training.runs import TOYS, losses, rows, train

#: In the first epoch (no checkpoint yet), at an epoch's first step, inside one, at the last step.
DEATHS = (1, 4, 6, 8, 15)
#: The first epoch is the best one, and it lies before the interruption.
MISLED = {"name": "toy", "misled": True, "per_step": True}
TRAINERS = {
    "each epoch": {},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "twice an epoch": {"val_check_interval": 0.5},
    "accumulating": {"accumulate_grad_batches": 2},
    "between accumulated batches": {"accumulate_grad_batches": 3, "val_check_interval": 2},
    "over epochs": {"check_val_every_n_epoch": None, "val_check_interval": 6},
    "steps": {"max_epochs": 5, "max_steps": 18},
    "steps alone": {"max_epochs": -1, "max_steps": 18, "val_check_interval": 2},
}


def train_until(death: int, config, folder: Path, monkeypatch) -> None:
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TOY_DIE_AT", str(death))
    with pytest.raises(RuntimeError, match="killed by the test"):
        train(config, folder)
    monkeypatch.delenv("TOY_DIE_AT")


def interrupted(config, folder: Path, monkeypatch, *deaths: int) -> Trained:
    """Train until the run dies, at each of the given passes in turn, then to the end."""
    for death in deaths:
        train_until(death, config, folder, monkeypatch)
    return train(config, folder)


def assert_same(found: Trained, expected: Trained) -> None:
    assert found.scores == expected.scores
    assert found.steps == expected.steps
    weights = found.module.state_dict()
    for name, value in expected.module.state_dict().items():
        assert torch.equal(weights[name], value), name


@pytest.mark.parametrize("death", DEATHS)
def test_resumed_run_is_bitwise_the_uninterrupted_one(mortal, tmp_path, monkeypatch, once, death):
    whole, folder = once(train, mortal())
    resumed = interrupted(mortal(), tmp_path / "resumed", monkeypatch, death)
    assert_same(resumed, whole)
    assert losses(tmp_path / "resumed") == losses(folder)


def test_augmentation_goes_on_as_it_would_have(mortal, tmp_path, monkeypatch, once):
    config = mortal(augment=[{"name": "noise", "deviation": 0.5}])
    whole, folder = once(train, config)
    assert_same(interrupted(config, tmp_path / "resumed", monkeypatch, 6), whole)
    assert losses(tmp_path / "resumed") == losses(folder)


def test_interrupted_twice(mortal, tmp_path, monkeypatch, once):
    whole, _ = once(train, mortal())
    # Passes are counted anew in each process: the second one starts at the second epoch.
    assert_same(interrupted(mortal(), tmp_path / "resumed", monkeypatch, 5, 6), whole)


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
@pytest.mark.parametrize("death", [5, 9, 11, 15])
def test_resumes_wherever_the_trainer_validates(
    mortal, tmp_path, monkeypatch, once, death, trainer
):
    config = mortal(trainer=trainer)
    whole, folder = once(train, config)
    assert_same(interrupted(config, tmp_path / "resumed", monkeypatch, death), whole)
    assert rows(tmp_path / "resumed") == rows(folder)


@pytest.mark.parametrize("death", [7, 15, 21])
def test_a_checkpoint_never_falls_inside_an_accumulation(
    mortal, tmp_path, monkeypatch, once, death
):
    """Eight batches an epoch, a validation after the sixth, a step after each fourth."""
    trainer = {"accumulate_grad_batches": 4, "val_check_interval": 6, "max_epochs": 3}
    config = mortal(task={"name": "toy", "train": 32}, trainer=trainer)
    whole, folder = once(train, config)
    assert_same(interrupted(config, tmp_path / "resumed", monkeypatch, death), whole)
    assert rows(tmp_path / "resumed") == rows(folder)


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: (step, value) of every tag, over all event files, whose order by name
    is not that of time if one process wrote ten of them within a second."""
    events = EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=False).Reload()
    tags = events.Tags()["scalars"]
    return {tag: sorted((point.step, point.value) for point in events.Scalars(tag)) for tag in tags}


@pytest.mark.parametrize("deaths", [(2,), (6,), (6, 6)], ids=str)
def test_what_is_repeated_is_logged_once(mortal, tmp_path, monkeypatch, once, deaths):
    config = mortal(analysis={"every_n_epochs": 1})
    _, folder = once(train, config)
    interrupted(config, tmp_path / "resumed", monkeypatch, *deaths)
    assert rows(tmp_path / "resumed") == rows(folder)
    found, expected = points(tmp_path / "resumed"), points(folder)
    speeds = [[step for step, _ in one.pop("speed/steps_per_second")] for one in (found, expected)]
    again, whole = (dict.fromkeys(steps) for steps in speeds)
    assert [len(again), len(whole)] == [len(steps) for steps in speeds], "each once"
    assert again.keys() <= whole.keys(), "a process's first steps are not timed"
    assert found == expected


def test_the_best_weights_add_no_point_to_the_curve_of_validation(mortal, once):
    """The first epoch is the best: its score would look like the last one's."""
    trained, folder = once(train, mortal(task=MISLED, model={"dropout": 0.0}))
    written = rows(folder)
    assert [r["step"] for r in written if "val/rmse" in r] == [3, 7, 11, 15]
    best = [r["best/val/rmse"] for r in written if "best/val/rmse" in r]
    assert best == [trained.scores.val]


def test_best_checkpoint_survives(mortal, tmp_path, monkeypatch, once):
    config = mortal(task=MISLED, model={"dropout": 0.0})
    whole, uninterrupted = once(train, config)
    val = [r["val/rmse"] for r in rows(uninterrupted) if "val/rmse" in r]
    assert val[0] < min(val[1:]), "precondition: validation only gets worse"
    assert whole.scores.val == val[0]
    folder = tmp_path / "resumed"
    assert interrupted(config, folder, monkeypatch, 6).scores == whole.scores
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0


def test_best_checkpoint_survives_a_move_of_the_folder(mortal, tmp_path, monkeypatch, once):
    config = mortal(task=MISLED, model={"dropout": 0.0})
    whole, _ = once(train, config)
    old, new = tmp_path / "old", tmp_path / "new"
    train_until(6, config, old, monkeypatch)
    shutil.move(old, new)
    assert_same(train(config, new), whole)
    assert not old.exists()


def test_finished_training_is_only_scored_again(mortal, tmp_path):
    """As after a crash between the end of training and the result."""
    (tmp_path / "run").mkdir()
    whole = train(mortal(), tmp_path / "run")
    trained = len(losses(tmp_path / "run"))
    assert_same(train(mortal(), tmp_path / "run"), whole)
    assert len([r for r in rows(tmp_path / "run") if "train/loss" in r]) == trained


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt", "previous.ckpt"])
def test_checkpoints_hold_plain_data_alone(mortal, tmp_path, file):
    train(mortal(), tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]
    state = torch.load(tmp_path / "checkpoints" / file, weights_only=True)
    assert any(name.startswith("model.") for name in state["state_dict"])


@pytest.mark.slow
def test_killed_process_goes_on_from_the_command_line(mortal, tmp_path):
    """kill -9 in the middle of an epoch, then the same command once more."""
    config = mortal()
    assert execute(Run.of(config, tmp_path / "whole")) == "finished"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "ssmbench", "run", str(file), "--plugins", str(TOYS)]
    command += ["--output", str(tmp_path / "killed")]
    death = {"TOY_DIE_AT": "9", "TOY_DIE_HOW": "SIGKILL"}
    killed = subprocess.run(command, env=os.environ | death, capture_output=True, timeout=120)
    assert killed.returncode == -9
    folder = Run.of(config, tmp_path / "killed").create()
    assert folder.state == "interrupted"
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    expected = Run.of(config, tmp_path / "whole").folder.result
    assert folder.result.scores == expected.scores
    assert folder.result.gain == expected.gain
