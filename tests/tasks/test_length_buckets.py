"""Batches of sequences of similar lengths: a permutation, shared by ranks, with less padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.tasks.order import LengthBuckets, evaluation_batches
from ssmbench.tasks.sequences import PaddedSequences


def order(lengths, *, batch_size, ranks=1, rank=0, seed=0, epoch=0):
    """The indices of one rank in an epoch, a row for each batch."""
    data = PaddedSequences.of([np.zeros((n, 1)) for n in lengths], np.zeros(len(lengths)))
    sampler = LengthBuckets(
        data, data.lengths, batch_size=batch_size, ranks=ranks, rank=rank, seed=seed
    )
    sampler.set_epoch(epoch)
    indices = list(sampler)
    assert len(indices) == len(sampler)
    return np.reshape(indices, (-1, batch_size))


@given(
    lengths=st.lists(st.integers(1, 50), min_size=6, max_size=60),
    batch_size=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_ranks_share_the_batches_of_one_process(lengths, batch_size, epoch):
    alone = order(lengths, batch_size=2 * batch_size, epoch=epoch)
    shares = [
        order(lengths, batch_size=batch_size, ranks=2, rank=rank, epoch=epoch) for rank in (0, 1)
    ]
    for k, batch in enumerate(alone):
        assert sorted(batch) == sorted([*shares[0][k], *shares[1][k]])
    assert (
        len(set(alone.flatten()))
        == alone.size
        == len(lengths) // (2 * batch_size) * (2 * batch_size)
    )


def padding(lengths, batches):
    """Share of the steps that are padding."""
    padded = sum(max(lengths[batch]) * len(batch) for batch in batches)
    return 1 - sum(lengths[batch].sum() for batch in batches) / padded


def test_little_is_padding_and_batches_differ_between_epochs():
    lengths = np.random.default_rng(0).integers(1000, 18_000, size=2000)
    shuffled = np.random.default_rng(1).permutation(2000).reshape(-1, 8)
    first, second = (order(lengths, batch_size=8, epoch=epoch) for epoch in (0, 1))
    assert padding(lengths, shuffled) > 0.3
    assert padding(lengths, first) < 0.05
    assert not {frozenset(b) for b in first} & {frozenset(b) for b in second}
    # No order of lengths within an epoch: a schedule would otherwise meet the long ones last.
    means = lengths[first].mean(1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2


def test_evaluation_batches_by_length():
    lengths = np.array([5, 1, 4, 2, 3])
    assert evaluation_batches(5, 2, 1, 0, lengths) == [[1, 3], [4, 2], [0]]
    both = [evaluation_batches(5, 2, 2, rank, lengths) for rank in (0, 1)]
    assert sorted(i for share in both for batch in share for i in batch) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_order_is_a_function_of_seed_and_epoch(epoch):
    lengths = list(range(1, 41))
    a, b = (order(lengths, batch_size=4, seed=3, epoch=epoch) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert (a != order(lengths, batch_size=4, seed=4, epoch=epoch)).any()
