"""Memory probes, each against a statement of its rule, one sequence and one step at a time."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.batch import UNSCORED
from ssmbench.tasks.probes.copying import ASK, BLANK, SPECIAL
from ssmbench.tasks.probes.state import alternating_group_5

NAMES = sorted(e.name for e in tasks if e.module.startswith("ssmbench.tasks.probes."))
SMALL = {"train_sequences": 40, "test_sequences": 20}


def probe(name, **options):
    entry = tasks.get(name)
    return entry.build(entry.config(**SMALL | options), batch_size=10, seed=0)


def rows(name, split="train", **options):
    batch = probe(name, **options).split(split)
    return list(zip(batch.u.tolist(), batch.target.tolist(), strict=True))


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 20), st.sampled_from([0, 1]))
def test_copying(symbols, alphabet, blanks, selective):
    name = ("copying", "selective_copying")[selective]
    length = 2 * symbols + blanks
    for u, target in rows(name, length=length, symbols=symbols, alphabet=alphabet):
        assert u[length - symbols :] == [ASK] * symbols
        read = [token for token in u if token not in (BLANK, ASK)]
        assert [token - SPECIAL for token in read] == target
        assert selective or u[:symbols] == read


@given(st.integers(2, 30))
def test_adding(length):
    for u, (target,) in rows("adding", length=length):
        marked = [k for k, (_, mark) in enumerate(u) if mark == 1]
        assert len(marked) == 2
        assert marked[0] < length // 2 <= marked[1]
        assert target == pytest.approx(sum(u[k][0] for k in marked), abs=1e-6)


def test_sums_have_the_stated_variance():
    task = probe("adding", length=20, train_sequences=20_000)
    assert float(task.split("train").target.var()) == pytest.approx(1 / 6, rel=0.03)
    assert task.baseline_scores()["mean"] == pytest.approx(0.408, abs=0.06)


@given(st.integers(1, 9), st.integers(1, 9))
def test_delay(lag, rest):
    for u, target in rows("delay", length=lag + rest, lag=lag):
        assert target == u[:rest]


@given(st.integers(3, 30), st.integers(1, 6))
def test_induction(length, alphabet):
    for u, (target,) in rows("induction", length=length, alphabet=alphabet):
        assert u.count(alphabet) == 2
        assert u[-1] == alphabet
        assert u[u.index(alphabet) + 1] == target


@given(st.integers(1, 5), st.integers(0, 20))
def test_associative_recall(pairs, blanks):
    for u, target in rows("associative_recall", length=3 * pairs + blanks, pairs=pairs, alphabet=6):
        value = {u[2 * k]: u[2 * k + 1] for k in range(pairs)}
        asked = [k for k, answer in enumerate(target) if answer != UNSCORED]
        assert sorted(u[k] for k in asked) == sorted(value)
        assert all(target[k] + 1 + 6 == value[u[k]] for k in asked)
        assert all(u[k] == 0 for k in range(2 * pairs, len(u)) if k not in asked)


def test_parity():
    for u, target in rows("parity", length=50):
        assert target == [s % 2 for s in itertools.accumulate(u)]


def test_the_table_of_a5_is_that_of_a_simple_group_of_order_60():
    table = torch.from_numpy(alternating_group_5())
    n = torch.arange(60)
    assert torch.equal(table.sort(1).values, n.expand(60, 60))
    assert torch.equal(table.sort(0).values, n[:, None].expand(60, 60))
    identity = int((table[n, n] == n).nonzero())
    assert torch.equal(table[table[:, :, None], n], table[n[:, None, None], table[None]])
    # Element orders of A5: 15 of order 2, 20 of order 3, 24 of order 5.
    orders, power = torch.ones(60, dtype=torch.long), n.clone()
    while bool((power != identity).any()):
        orders += power != identity
        power = torch.where(power != identity, table[power, n], power)
    assert torch.bincount(orders).tolist() == [0, 1, 15, 20, 0, 24]


def test_a5_products():
    table = alternating_group_5().tolist()
    for u, target in rows("a5_products", length=20):
        assert target == list(itertools.accumulate(u, lambda a, b: table[a][b]))


@pytest.mark.parametrize("name", NAMES)
def test_longer_test_sets_and_splits_that_differ(name):
    task = probe(name, length=128, length_factors=[2, 4])
    assert task.further_tests() == ("2 x length", "4 x length")
    assert task.split("4 x length").u.shape[1] == 512
    assert not torch.equal(task.split("val").u, task.split("test").u)
    assert not torch.equal(task.split("val").u, probe(name, length=128, data_seed=1).split("val").u)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("copying", {"length": 19}, "length must be at least 20"),
        ("delay", {"length": 100}, "length must be at least 101"),
        ("associative_recall", {"pairs": 65}, "65 different keys of an alphabet of 64"),
        ("parity", {"length_factors": [0]}, "length_factors must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        probe(name, **options)
