"""What a training step does beside the arithmetic: seeds, the check of the loss, its log."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import pytest
import torch

from ssmbench import registry
from ssmbench.training import module
from ssmbench.training.devices import FiniteCheck, seed_generators
from ssmbench.training.empty_hooks import EVERY_BATCH
from tests.tools import load_tool
from tests.training.runs import losses, rows, train

FUSE = {"parametrization": {"name": "fuse", "d_state": 4, "at": 6}}


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seeding_is_that_of_torch(seed):
    torch.manual_seed(seed)
    expected = torch.rand(5)
    seed_generators(seed, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected)
    seed_generators(seed, torch.device("meta"))
    assert torch.equal(torch.rand(5), expected)


def test_no_traceback_is_made_to_seed_a_step(monkeypatch):
    """torch.manual_seed makes one for every kind of device that is not in use."""
    monkeypatch.setattr("traceback.format_stack", lambda *_: pytest.fail("a traceback"))
    seed_generators(1, torch.device("cpu"))


@pytest.mark.parametrize("number", [0.0, math.inf, -math.inf, math.nan])
def test_finite_check(number):
    assert bool(FiniteCheck(torch.tensor(number))) == math.isfinite(number)


def test_losses_that_are_written_are_those_of_their_steps(tiny, tmp_path):
    """Whether every loss is logged, or only those that are written."""
    train(tiny(), tmp_path / "each")
    train(tiny(trainer={"log_every_n_steps": 3}), tmp_path / "some")
    each, some = losses(tmp_path / "each"), losses(tmp_path / "some")
    assert list(each) == list(range(16))
    assert some == {step: each[step] for step in (2, 5, 8, 11, 14)}


def test_a_callback_can_read_every_loss(tiny, tmp_path):
    seen = []

    class Reader(pl.Callback):
        """The loss that Lightning has for callbacks when the next batch begins."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(float(trainer.callback_metrics.get("train/loss", math.nan)))

    registry.callbacks.register("reader")(lambda config, task: Reader())
    train(tiny(callbacks=["reader"]), tmp_path / "each")
    train(tiny(callbacks=["reader"], trainer={"log_every_n_steps": 50}), tmp_path / "seldom")
    each, seldom = seen[:16], seen[16:]
    assert seldom[1:] == each[1:] == list(losses(tmp_path / "each").values())[:-1]
    assert losses(tmp_path / "seldom") == {}


def test_losses_are_written_by_lightning_as_without_it(tiny, tmp_path):
    """Lightning writes them where a callback may read them."""
    registry.callbacks.register("silent")(lambda config, task: pl.Callback())
    steps = {"log_every_n_steps": 3, "accumulate_grad_batches": 2}
    train(tiny(trainer=steps), tmp_path / "straight")
    train(tiny(trainer=steps, callbacks=["silent"]), tmp_path / "lightning")
    straight, lightning = (
        [row for row in rows(tmp_path / name) if "train/loss" in row]
        for name in ("straight", "lightning")
    )
    assert straight == lightning != []


def test_a_step_calls_nothing_that_does_nothing(tiny, tmp_path, monkeypatch):
    def fail(*_, **__):
        pytest.fail("an empty hook was called")

    for name in EVERY_BATCH:
        monkeypatch.setattr(pl.Callback, name, fail)
    train(tiny(), tmp_path)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_divergence_found_after_the_backward_pass_is_the_same(
    tiny, tmp_path, monkeypatch, precision
):
    """As on a GPU, where the loss is not waited for before the backward pass."""
    config = tiny(model=FUSE, trainer={"precision": precision})
    early = train(config, tmp_path / "early")
    monkeypatch.setattr(module, "waits_for_loss", lambda device: False)
    late = train(config, tmp_path / "late")
    assert early.diverged_at == late.diverged_at == 6
    assert losses(tmp_path / "early") == losses(tmp_path / "late")
    for one, two in zip(early.module.parameters(), late.module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_gradient_that_cannot_be_factorized_is_divergence(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "waits_for_loss", lambda device: False)

    def fail(*_, **__):
        raise torch.linalg.LinAlgError("not finite")

    monkeypatch.setattr(pl.LightningModule, "backward", fail)
    assert train(tiny(model={"parametrization": {"name": "fuse"}}), tmp_path).diverged_at == 0
    with pytest.raises(torch.linalg.LinAlgError):
        train(tiny(), tmp_path / "finite")


def test_step_overhead_measures_both(monkeypatch, tmp_path):
    tool = load_tool("step_overhead")
    case = {"model": {"d_model": 2, "n_layers": 1}, "task": {"length": 32, "train_sequences": 24}}
    monkeypatch.setitem(tool._CASES, "least", case | {"trainer": {"max_epochs": 2}})
    found = tool.measured("least", "cpu", 1)
    assert min(found.bare, found.framework, found.epoch_end, found.monitor) > 0
    assert found.whole_ratio > found.step_ratio
