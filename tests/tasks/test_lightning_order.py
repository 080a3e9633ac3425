"""The order of training as Lightning's own loop drives it, interrupted and resumed."""

import logging
import warnings

import lightning.pytorch as pl
import pytest
import torch

from ssmbench.registry import tasks
from ssmbench.training.data_module import DataModule

EPOCHS = 3


class Killed(Exception):
    """Stands for the end of a process that was told to save and go."""


class Recorder(pl.LightningModule):
    """Trains one number and remembers which batches it saw; may be killed after some steps."""

    def __init__(self, kill_at=None, checkpoint=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
        self.kill_at, self.checkpoint = kill_at, checkpoint

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch[0].sum().item()))
        return self.weight * batch[0].sum()

    def on_train_batch_end(self, *_):
        if self.global_step == self.kill_at:
            self.trainer.save_checkpoint(self.checkpoint)
            raise Killed

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fit(recorder, folder, resume=None):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=1,
    )
    task = tasks.get("digits").build(batch_size=200, seed=1)
    trainer.fit(recorder, datamodule=DataModule(task), ckpt_path=resume)
    return recorder.seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(Recorder(), tmp_path_factory.mktemp("whole"))


def test_lightning_sets_the_epoch(whole):
    loader = tasks.get("digits").build(batch_size=200, seed=1).train_dataloader()
    expected = []
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        expected += [(epoch, u.sum().item()) for u, *_ in loader]
    assert whole == expected
    assert len({total for _, total in whole}) == len(whole)


@pytest.mark.parametrize("step", [2, 5, 8, 10, 14])
def test_resumed_run_sees_what_the_whole_run_saw(whole, tmp_path, step):
    checkpoint = tmp_path / "last.ckpt"
    killed = Recorder(step, checkpoint)
    with pytest.raises(Killed):
        fit(killed, tmp_path)
    assert len(killed.seen) == step
    assert killed.seen + fit(Recorder(), tmp_path, resume=checkpoint) == whole
