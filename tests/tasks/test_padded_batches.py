"""Batches made by one indexing are those of the samples, one by one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.tasks.collation import collate
from ssmbench.tasks.sequences import PaddedSequences, PairedSequences


def drawn(seed: int, number: int, *, per_step: bool, uneven: bool, tokens: bool) -> PaddedSequences:
    """Sequences of 1 to 9 steps."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 10, number)
    u = [rng.integers(0, 6, n) if tokens else rng.standard_normal((n, 2)) for n in lengths]
    target = [rng.standard_normal((n, 3)) for n in lengths] if per_step else list(range(number))
    dt = [rng.uniform(0.5, 2, n) for n in lengths] if uneven else None
    padding = 5 if tokens else 0
    return PaddedSequences.of(u, target, dt=dt, per_step=per_step, padding=padding)


def assert_same(data, places):
    expected = collate(
        [data.sample(k) for k in places], per_step=data.per_step, padding=data.padding
    )
    found = data.batch(places)
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), name


PLACES = st.lists(st.integers(0, 7), min_size=1, max_size=9)


@given(st.integers(0, 99), PLACES, st.booleans(), st.booleans(), st.booleans())
def test_sequences(seed, places, per_step, uneven, tokens):
    assert_same(drawn(seed, 8, per_step=per_step, uneven=uneven, tokens=tokens), places)


@given(st.integers(0, 99), PLACES, st.booleans(), st.booleans())
def test_pairs(seed, places, uneven, tokens):
    kind = {"per_step": False, "uneven": uneven, "tokens": tokens}
    first, second = drawn(seed, 8, **kind), drawn(seed + 1, 8, **kind)
    assert_same(PairedSequences(first, second, list(range(8))), places)
