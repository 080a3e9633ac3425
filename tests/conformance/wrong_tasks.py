"""Wrong tasks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import torch

from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.order import Batches
from ssmbench.tasks.sequences import PaddedSequences, SequenceData, Splits
from tests.conformance.wrong import Wrong, example, no_module

Echo = example("task").factory
EchoConfig = example("task").config


@dataclass
class SmallConfig(EchoConfig):
    length: int = 12
    delay: int = 2
    sequences: int = 40


class WithoutSource(Echo):
    source = ""


class LoadsForItsSizes(Echo):
    @property
    def sizes(self):
        self.load()
        return super().sizes


class Lazy(SequenceData):
    """Sequences of which only the first is seen when they are loaded."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def batch(self, indices):
        return self.data.batch(indices)


class InfiniteLateOn(Echo):
    def load(self):
        splits = super().load()
        splits.train.u[20] = torch.inf
        return Splits(Lazy(splits.train), splits.val, splits.test)


class LongerThanItsData(Echo):
    @property
    def sizes(self):
        length = self.config.length + 1
        return TaskSizes(Channels(1), outputs=1, length=length, per_step=True)


class ConstantLoss(Echo):
    def loss(self, prediction, target):
        return 1 + 0 * prediction.sum()


class OneMetric(Echo):
    kept = None

    def metrics(self):
        self.kept = self.kept or super().metrics()
        return self.kept


class Ragged(Echo):
    """The sequences have different lengths, and nothing is wrong with it."""

    def load(self):
        generator = torch.Generator().manual_seed(0)
        return Splits(*(self._padded(generator) for _ in ("train", "val", "test")))

    def _padded(self, generator):
        data, length = self._draw(generator), self.config.length
        kept = torch.ones(len(data), length, dtype=torch.bool)
        kept[1::2, length // 2 :] = False
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), kept.sum(1).cumsum(0)])
        values, target = data.u[kept].numpy(), data.target[kept].numpy()
        return PaddedSequences(values, offsets.numpy(), target, per_step=True)


class CountsThePadding(Ragged):
    def batch_loss(self, prediction, batch):
        return self.loss(prediction, batch.target)


class SumInPlaceOfTheMean(Echo):
    def loss(self, prediction, target):
        return super().loss(prediction, target) * target.numel()


class AugmentsInPlace(Echo):
    def augment(self, batch):
        batch.u.mul_(0.5)
        return batch


class DataOfItsSeed(Echo):
    def load(self):
        generator = torch.Generator().manual_seed(self.seed)
        return Splits(*(self._draw(generator) for _ in ("train", "val", "test")))


class DrawsGlobally(Echo):
    def load(self):
        torch.rand(1)
        return super().load()


class OtherDigestEachTime(Echo):
    @property
    def data_digest(self):
        return secrets.token_hex(8)


class HoldsAFunction(Echo):
    def __init__(self, config, *, batch_size, seed):
        super().__init__(config, batch_size=batch_size, seed=seed)
        self.scale = lambda u: u


class LoadsAgain(Echo):
    def setup(self, stage=None):
        self._splits = None
        super().setup(stage)


class SampleOfTheLast(Echo):
    def sample(self, split="val", n=None):
        data = self.split(split)
        return data.batch(range(len(data) - (n or 0), len(data)))


class SeedPlusEpoch(Echo):
    """torch's own rule: seed 2 in epoch 6 has the order of seed 3 in epoch 5."""

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.sampler.seed = self.seed
        return loader


class FirstRankEverywhere(Echo):
    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.sampler.rank = 0
        return loader


class DropsTheLastBatch(Echo):
    def _evaluation_loader(self, name):
        loader = super()._evaluation_loader(name)
        return Batches(loader.dataset, batch_sampler=list(loader.batch_sampler)[:-1])


class StartsAgain(Batches):
    def load_state_dict(self, state):
        pass


class SkipsAllThatWereUsed(Batches):
    """Also where that is the whole epoch."""

    def _batches_to_skip(self):
        resume_at, self._resume_at = self._resume_at, None
        return resume_at[1] if resume_at and resume_at[0] == self._epoch else 0


class EpochsStartAgain(Echo):
    def train_dataloader(self):
        return _of_class(super().train_dataloader(), StartsAgain)


class EpochsAreSkipped(Echo):
    def train_dataloader(self):
        return _of_class(super().train_dataloader(), SkipsAllThatWereUsed)


def _of_class(loader, kind):
    loader.__class__ = kind
    return loader


class TakesNoBatchSize(Echo):
    def __init__(self, config, *, batch_size, seed):
        super().__init__(config, batch_size=max(1, batch_size), seed=seed)


def task(check, factory, says, **more):
    return Wrong("task", check, factory, says, config=SmallConfig, **more)


WRONG = (
    task("builds", no_module, "a task must derive from"),
    task("metadata_is_complete", WithoutSource, "source is empty"),
    task("sizes_known_before_loading", LoadsForItsSizes, "reading sizes loads the data"),
    task("batches_as_declared", InfiniteLateOn, "u is not finite"),
    task("training_length_as_declared", LongerThanItsData, r"has 12 steps; sizes\.length is 13"),
    task("loss_and_score_are_finite", ConstantLoss, "does not depend on the prediction"),
    task("metrics_are_new_objects", OneMetric, "returns the same object again"),
    task("padding_has_no_influence", CountsThePadding, "the padding changes the loss"),
    task("mean_loss_over_ranks_agrees", SumInPlaceOfTheMean, "the mean over its halves"),
    task("augmentation_keeps_shapes", AugmentsInPlace, "modifies the batch that it is given"),
    task("data_do_not_depend_on_the_seed", DataOfItsSeed, "the seed changes the data"),
    task("global_random_state_is_unchanged", DrawsGlobally, "draws from torch's global generator"),
    task("digest_is_stable", OtherDigestEachTime, "two instances have different digests"),
    task("can_be_pickled", HoldsAFunction, "pickle"),
    task("setup_loads_once", LoadsAgain, "a second call of setup loads the data again"),
    task("sample_is_the_first_sequences", SampleOfTheLast, "does not return the first sequences"),
    task("order_depends_on_seed_and_epoch", SeedPlusEpoch, "seed 2, epoch 6 has the same order"),
    task("ranks_partition_a_batch", FirstRankEverywhere, "differ from those of one process"),
    task("every_sequence_is_evaluated_once", DropsTheLastBatch, "not every sequence is used once"),
    task("resumes_within_an_epoch", EpochsStartAgain, "differs from an uninterrupted"),
    task("resumes_after_a_finished_epoch", EpochsAreSkipped, "are skipped"),
    task("rejects_invalid_settings", TakesNoBatchSize, "batch_size=0 is accepted"),
)
