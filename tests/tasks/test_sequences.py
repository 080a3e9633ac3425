"""Sequences of different lengths in one batch: the quick way and the plain one agree."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.tasks.sequences import PaddedSequences, collate


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    per_step=st.booleans(),
    sampled_unevenly=st.booleans(),
    tokens=st.booleans(),
)
def test_a_batch_is_that_of_its_samples(lengths, per_step, sampled_unevenly, tokens):
    random = np.random.default_rng(0)
    u = [
        random.integers(1, 9, n, dtype=np.uint8) if tokens else random.normal(size=(n, 2))
        for n in lengths
    ]
    target = [random.integers(0, 3, n) for n in lengths] if per_step else np.arange(len(lengths))
    dt = [random.uniform(size=n) for n in lengths] if sampled_unevenly else None
    data = PaddedSequences.of(u, target, dt=dt, per_step=per_step, padding=7 if tokens else 0)
    chosen = random.integers(0, len(lengths), 5).tolist()
    plain = collate([data.sample(k) for k in chosen], per_step=per_step, padding=data.padding)
    for found, expected in zip(data.batch(chosen), plain, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)
