"""Every registered task passes the conformance kit; how evaluation is shared among ranks."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from ssmbench.registry import tasks
from ssmbench.tasks.digits import Digits
from ssmbench.tasks.order import evaluation_batches
from ssmbench.tasks.sequences import Sequences
from ssmbench.tasks.sysid import tables
from ssmbench.testing import conform, examine_conformance
from tests.tasks.tiny import tiny_config


@pytest.fixture(autouse=True, scope="module")
def _files_read_once():
    """The kit loads a task's data some twenty times; a large file is parsed once."""
    read = functools.cache(tables.read_columns)

    def read_copy(path, names, rows=None, delimiter=","):
        return read(path, tuple(names), rows, delimiter).copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "read_columns", read_copy)
        yield


EVERY_TASK = pytest.mark.parametrize("name", [entry.name for entry in tasks])


@EVERY_TASK
def test_every_task_conforms(name):
    report = conform(tasks.get(name), config=tiny_config(name))
    assert {check.name for check in report.checks if check.skipped} <= {"padding has no influence"}
    assert tasks.get(name).citation


@given(size=st.integers(1, 200), batch_size=st.integers(1, 30), ranks=st.integers(1, 9))
def test_evaluation_is_shared_evenly(size, batch_size, ranks):
    shares = [evaluation_batches(size, batch_size, ranks, rank) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    flat = [index for share in shares for batch in share for index in batch]
    times = ranks if size < ranks else 1
    assert sorted(flat) == sorted(list(range(size)) * times)
    assert all(1 <= len(batch) <= max(batch_size, 2) for share in shares for batch in share)


class Counter(TorchFunctionMode):
    """Counts torch's functions that are called within."""

    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def calls_for_a_batch(name, size):
    """Torch's functions that are called to make a batch of this size."""
    task = tasks.get(name).build(tiny_config(name), batch_size=size, seed=0)
    next(iter(task.train_dataloader()))  # loads the data
    with Counter() as counter:
        next(iter(task.train_dataloader()))
    assert torch.is_tensor(next(iter(task.val_dataloader())).u)
    return counter.calls


@EVERY_TASK
def test_a_batch_is_made_at_once_and_not_sequence_by_sequence(name):
    assert calls_for_a_batch(name, 16) - calls_for_a_batch(name, 8) < 8


# --- tasks that break their contract are detected -----------------------------------------------


def shortened(task):
    splits = task.load()
    return replace(splits, train=Sequences(splits.train.u[:, :-1], splits.train.target))


def not_finite(task):
    splits = task.load()
    splits.val.u[0, 0] = torch.nan
    return splits


def drawn_from_the_global_generator(task):
    splits = task.load()
    splits.train.u.add_(torch.randn_like(splits.train.u))
    return splits


@pytest.mark.parametrize(
    ("load", "failed"),
    [
        (shortened, "training length as declared"),
        (not_finite, "batches as declared"),
        (drawn_from_the_global_generator, "global random state is unchanged"),
    ],
)
def test_the_failed_check_is_named(load, failed):
    class Broken:
        @staticmethod
        def build(config, **sizes):
            task = Digits(config, **sizes)
            original, task.load = task.load, lambda: load(SimpleNamespace(load=original))
            return task

    entry = replace(tasks.get("digits"), factory=Broken.build)
    report = examine_conformance(entry)
    assert failed in {check.name for check in report.checks if not (check.passed or check.skipped)}
