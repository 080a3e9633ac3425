"""Properties that every registered task has."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.order import evaluation_batches
from tests.tasks.idx import OPTIONS

BATCH = 8
EVERY_TASK = pytest.mark.parametrize("name", [entry.name for entry in tasks])
LOADERS = {"train": "train_dataloader", "val": "val_dataloader", "test": "test_dataloader"}
EVERY_SPLIT = pytest.mark.parametrize("split", LOADERS)


def make(name, *, batch_size=BATCH, seed=0, ranks=1, rank=0):
    entry = tasks.get(name)
    config = entry.config(**OPTIONS.get(name, dict)())
    task = entry.build(config, batch_size=batch_size, seed=seed)
    task.trainer = SimpleNamespace(world_size=ranks, global_rank=rank)
    return task


def batches(task, split, epoch=None):
    loader = getattr(task, LOADERS[split])()
    if epoch is not None:
        loader.sampler.set_epoch(epoch)
    return list(loader)


def rows(batches):
    """The sequences of some batches as a sorted list, for comparison as multisets."""
    u = torch.cat([batch.u.flatten(1) for batch in batches])
    target = torch.cat(
        [
            target.flatten(1).double() if target.ndim > 1 else target.double()[:, None]
            for target in (batch.target for batch in batches)
        ]
    )
    return sorted(torch.cat([u.double(), target], dim=1).tolist())


def prediction_for(task, u):
    sizes = task.sizes
    steps = (u.shape[1],) if sizes.per_step else ()
    generator = torch.Generator().manual_seed(1)
    return torch.randn(u.shape[0], *steps, sizes.outputs, generator=generator)


def whole(data):
    return data.batch(range(len(data)))


def same(left, right):
    pairs = zip(left, right, strict=True)
    return all(
        torch.equal(one.u, other.u) and torch.equal(one.target, other.target)
        for one, other in pairs
    )


@EVERY_TASK
def test_sizes_are_known_before_loading_and_true(name):
    task = make(name)
    sizes = task.sizes
    assert task._splits is None
    u = batches(task, "train", epoch=0)[0].u
    assert u.shape == (BATCH, sizes.length, sizes.sequence.count)
    for split in LOADERS:
        for u, target, *_ in batches(task, split):
            assert u.dtype == torch.float32
            assert u.shape[2] == sizes.sequence.count
            assert torch.isfinite(u).all()
            assert torch.isfinite(target).all()
            assert len(target) == len(u)


@EVERY_TASK
def test_entry_says_what_it_is(name):
    entry = tasks.get(name)
    assert entry.citation
    assert entry.summary
    assert make(name).source


@EVERY_TASK
@EVERY_SPLIT
def test_loss_and_score_of_a_batch(name, split):
    task = make(name)
    batch = batches(task, split)[0]
    prediction = prediction_for(task, batch.u).requires_grad_()
    loss = task.batch_loss(prediction, batch)
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert prediction.grad.abs().sum() > 0
    metrics = task.metrics()
    assert isinstance(metrics, MetricCollection)
    metrics.update(*task.batch_metric(prediction.detach(), batch))
    assert math.isfinite(metrics.compute()[task.score])
    assert task.metrics() is not metrics


@EVERY_TASK
def test_mean_of_two_ranks_losses_is_the_joint_loss(name):
    task = make(name)
    batch = batches(task, "train", epoch=0)[0]
    prediction = prediction_for(task, batch.u)
    parts = (slice(0, 4), slice(4, 8))
    halves = [task.batch_loss(prediction[part], batch.at(part)) for part in parts]
    torch.testing.assert_close(sum(halves) / 2, task.batch_loss(prediction, batch))


@EVERY_TASK
def test_order_is_a_function_of_seed_and_epoch(name):
    first = batches(make(name, seed=3), "train", epoch=5)
    assert same(first, batches(make(name, seed=3), "train", epoch=5))
    assert rows(first[:1]) != rows(batches(make(name, seed=3), "train", epoch=6)[:1])
    # Neighbouring seeds must not have each other's epochs, one later.
    assert rows(first[:1]) != rows(batches(make(name, seed=2), "train", epoch=6)[:1])
    assert rows(first[:1]) != rows(batches(make(name, seed=4), "train", epoch=4)[:1])


@EVERY_TASK
@EVERY_SPLIT
def test_data_do_not_depend_on_the_seed_of_the_run(name, split):
    one, other = make(name, seed=0).split(split), make(name, seed=1).split(split)
    assert same([whole(one)], [whole(other)])


@EVERY_TASK
@EVERY_SPLIT
def test_global_random_state_is_left_alone(name, split):
    before = torch.get_rng_state()
    batches(make(name), split)
    assert torch.equal(before, torch.get_rng_state())


@EVERY_TASK
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_together_see_the_batches_of_one_process(name, ranks):
    alone = batches(make(name, batch_size=BATCH), "train", epoch=2)
    shared = [
        batches(make(name, batch_size=BATCH // ranks, ranks=ranks, rank=rank), "train", epoch=2)
        for rank in range(ranks)
    ]
    assert all(len(share) == len(alone) for share in shared)
    for joint, *parts in zip(alone, *shared, strict=True):
        assert rows([joint]) == rows(parts)


@given(size=st.integers(1, 200), batch_size=st.integers(1, 30), ranks=st.integers(1, 9))
def test_evaluation_is_shared_evenly(size, batch_size, ranks):
    shares = [evaluation_batches(size, batch_size, ranks, rank) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    flat = [index for share in shares for batch in share for index in batch]
    times = ranks if size < ranks else 1
    assert sorted(flat) == sorted(list(range(size)) * times)
    assert all(1 <= len(batch) <= max(batch_size, 2) for share in shares for batch in share)


@EVERY_TASK
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_sequence_is_evaluated_exactly_once(name, split, ranks):
    data = make(name).split(split)
    seen = []
    for rank in range(ranks):
        seen += rows(batches(make(name, ranks=ranks, rank=rank), split))
    # Too few to share among the ranks: each evaluates all, which leaves every mean as it is.
    times = ranks if len(data) < ranks else 1
    assert sorted(seen) == sorted(rows([whole(data)]) * times)


@EVERY_TASK
def test_setup_is_idempotent(name):
    task = make(name)
    task.setup("fit")
    u = task.split("train").u
    task.setup("test")
    assert task.split("train").u is u


@EVERY_TASK
def test_sample_inputs(name):
    task = make(name)
    assert task.sample_inputs("train", 5).shape == (5, task.sizes.length, task.sizes.sequence.count)
    assert len(task.sample_inputs("val")) == len(task.split("val"))


@EVERY_TASK
def test_resumed_loader_goes_on_where_it_stopped(name):
    whole = batches(make(name), "train", epoch=1)
    loader = make(name).train_dataloader()
    loader.sampler.set_epoch(1)
    iterator = iter(loader)
    before = [next(iterator) for _ in range(3)]
    resumed = make(name).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    iterator = iter(resumed)
    resumed.sampler.set_epoch(1)  # as Lightning does it: after it made the iterator
    assert same(before + list(iterator), whole)
    resumed.sampler.set_epoch(2)
    assert same(list(resumed), batches(make(name), "train", epoch=2))


@EVERY_TASK
def test_state_of_a_finished_epoch_skips_nothing(name):
    loader = make(name).train_dataloader()
    number = len(list(loader))
    resumed = make(name).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert len(list(resumed)) == number


@EVERY_TASK
def test_too_large_a_batch_is_refused_in_one_line(name):
    with pytest.raises(UsageError, match="training sequences") as caught:
        make(name, batch_size=10**6).train_dataloader()
    assert "\n" not in str(caught.value)


@EVERY_TASK
@pytest.mark.parametrize("settings", [{"batch_size": 0, "seed": 0}, {"batch_size": 1, "seed": -1}])
def test_bad_batch_size_or_seed_is_refused(name, settings):
    with pytest.raises(UsageError):
        tasks.get(name).build(**settings)


@EVERY_TASK
def test_batches_cost_little_time(name):
    task = make(name, batch_size=64)
    loader = task.train_dataloader()
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        number = len(list(loader))
        best = min(best, (time.perf_counter() - start) / number)
    assert best < 2e-3  # measured 0.03 ms; the bound only catches collating sample by sample
