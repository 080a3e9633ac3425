"""Samples that are dropped at random, against statements of what is kept and how long it lasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from ssmbench.build.check import check_parts
from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.conditions import Conditions
from ssmbench.tasks.dropping import Thinned, drop_samples, kept_of
from ssmbench.tasks.sequences import PaddedSequences
from tests.builders import build_layer
from tests.training.runs import TINY

SHARES = st.sampled_from([0.1, 0.3, 0.5, 0.9, 0.999])


def batch_of(lengths: list[int], scored: int | None, given_dt: bool, seed: int) -> Batch:
    """u holds the number of each sample, and the target of a step too."""
    random, total = np.random.default_rng(seed), max(lengths)
    number = torch.arange(total).float().expand(len(lengths), -1)
    target = torch.zeros(len(lengths)) if scored is None else number[:, total - scored :]
    dt = torch.from_numpy(random.uniform(0.1, 3, number.shape)).float() if given_dt else None
    valid = None if len(set(lengths)) == 1 else torch.tensor(lengths)
    return Batch(number[..., None], target[..., None], valid, dt)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    scored=st.integers(1, 30) | st.none(),
    share=SHARES,
    given_dt=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_kept_lasts_as_long_as_the_sequence(lengths, scored, share, given_dt, seed):
    total = max(lengths)
    scored = scored if scored is None else min(scored, total)
    batch = batch_of(lengths, scored, given_dt, seed)
    numbers = torch.from_numpy(np.random.default_rng(seed).random((len(lengths), total)))
    found = drop_samples(batch, share, numbers, per_step=scored is not None)
    steps = [found.u.shape[1]] * len(lengths) if found.lengths is None else found.lengths.tolist()
    before = found.u.shape[1] - found.target.shape[1]  # those that are not scored
    for row, (length, left) in enumerate(zip(lengths, steps, strict=True)):
        places = found.u[row, :left, 0].long()
        first = total if scored is None else total - scored
        parts = [min(first, length), length - min(first, length)]
        assert left == sum(int(kept_of(torch.tensor(n), share)) for n in parts)
        assert places.tolist() == sorted({*places.tolist()})
        assert places[0] == 0
        durations = torch.ones(total) if batch.dt is None else batch.dt[row]
        ends = [*places[1:].tolist(), length]
        wanted = [durations[a:b].double().sum() for a, b in zip(places.tolist(), ends, strict=True)]
        torch.testing.assert_close(found.dt[row, :left].double(), torch.stack(wanted))
        if scored is not None:
            kept = found.target[row, : max(left - before, 0), 0].long()
            assert torch.equal(kept, places[before:])


def test_a_share_of_zero_is_the_batch_itself():
    batch = batch_of([5, 3], 5, False, 0)
    assert drop_samples(batch, 0.0, torch.rand(2, 5), per_step=True) is batch


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_thinned_sequences_are_the_same_alone_and_in_any_batch(share):
    rows = [np.random.default_rng(k).normal(size=(length, 2)) for k, length in enumerate([9, 4, 6])]
    data = Thinned(PaddedSequences.of(rows, rows, per_step=True), share, 3, per_step=True)
    together = data.batch([2, 0, 1])
    assert together.lengths.tolist() == data.lengths[[2, 0, 1]].tolist()
    for row, index in enumerate([2, 0, 1]):
        alone = data.batch([index])
        length = alone.u.shape[1]
        for part, whole in zip(alone[:2], together[:2], strict=True):
            assert torch.equal(part[0], whole[row, :length])
        assert torch.equal(alone.dt[0], together.dt[row, :length])
        assert not whole[row, length:].any()
        assert bool((together.dt[row, length:] == 1).all())


def test_a_layer_on_the_kept_samples_gives_the_exact_outputs():
    """S4D with a zero-order hold, against the matrix exponential of each interval."""
    layer = build_layer("s4d", "zoh", d_model=1, seed=0).double()
    batch = Batch(torch.randn(1, 40, 1, dtype=torch.float64), torch.zeros(1, 1))
    kept = drop_samples(batch, 0.6, torch.rand(1, 40))
    found = layer(kept.u, kept.dt.double())[0, :, 0]
    dense = layer.parametrization().detach().to_dense()
    A, B, C, D = (t[0].numpy() for t in (dense.A, dense.B, dense.C, dense.D))
    n, joint = len(A), np.zeros((len(A) + 1, len(A) + 1))
    joint[:n, :n], joint[:n, n:] = A, B
    x, outputs = np.zeros((n, 1)), []
    for level, hold in zip(kept.u[0, :, 0].tolist(), kept.dt[0].tolist(), strict=True):
        outputs.append((C @ x + D * level).item())
        step = expm(joint * hold * dense.dt.item())
        x = step[:n, :n] @ x + step[:n, n:] * level
    wanted = torch.tensor(outputs, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


# --- as conditions of a run -----------------------------------------------------------------------

DELAY = {"name": "delay", "length": 24, "lag": 8, "train_sequences": 12, "test_sequences": 6}


def run_of(**sampling):
    return resolve(TINY | {"task": DELAY, "sampling": sampling})


def test_every_split_is_thinned_and_further_tests_have_their_shares():
    task = build_task(typed(run_of(dropped=0.5, test_dropped=[0, 0.25])))
    assert task.further_tests() == ("0% dropped", "25% dropped")
    sizes = {name: task.sample(name).u.shape[1] for name in ("val", "test", *task.further_tests())}
    assert sizes == {"val": 12, "test": 12, "0% dropped": 24, "25% dropped": 18}
    assert torch.equal(task.sample("test").dt.sum(1), torch.full((6,), 24.0))
    assert torch.equal(task.sample("test").u, task.sample("test").u)
    assert task.sample("0% dropped").dt is None
    whole = build_task(typed(run_of()))
    assert torch.equal(task.sample("0% dropped").u, whole.sample("test").u)
    assert task.baseline_scores() == whole.baseline_scores()


def test_training_drops_others_at_every_place_and_the_same_at_each():
    task = build_task(typed(run_of(dropped=0.5)))
    batch = next(iter(task.train_dataloader()))
    first, again, later = (task.training_batch(batch, (0, epoch, 0, 0)) for epoch in (0, 0, 1))
    assert torch.equal(first.dt, again.dt)
    assert not torch.equal(first.dt, later.dt)


def test_without_dropping_the_task_is_its_own():
    task = build_task(typed(run_of(seed=7)))
    task.setup()
    batch = next(iter(task.train_dataloader()))
    assert task.training_batch(batch, (0, 0, 0, 0)) is batch
    assert task._splits is task._loaded
    assert fingerprint(run_of(dropped=0.0, test_dropped=[])) == fingerprint(run_of())
    assert fingerprint(run_of(dropped=0.1)) != fingerprint(run_of())
    assert Conditions().remark == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "parity"}, "no samples of parity can be dropped: its input is tokens"),
        ({"task": "adding"}, "no samples of adding can be dropped: without a marked number"),
        ({"model": {"parametrization": "lru", "discretizer": None}}, "dt: LRU has no step size"),
        ({"model": {"bidirectional": True}}, "dt: a bidirectional network needs uniform sampling"),
    ],
)
def test_what_cannot_be_dropped_is_refused_before_training(change, says):
    config = {**TINY, "task": DELAY, "sampling": {"test_dropped": [0.5]}}
    config |= {"model": TINY["model"] | change.get("model", {}), "task": change.get("task", DELAY)}
    with pytest.raises(UsageError, match=says) as caught:
        check_parts(typed(resolve(config)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shares", [{"dropped": 1.0}, {"test_dropped": [0.5, -0.1]}])
def test_shares_are_below_one(shares):
    with pytest.raises(UsageError, match=r"in \[0, 1\)"):
        run_of(**shares)
