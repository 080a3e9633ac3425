"""Label smoothing: its loss against the formula, and the validation that it leaves alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from ssmbench.build.task import build_task
from ssmbench.config import resolve, typed
from ssmbench.errors import UsageError
from ssmbench.tasks.batch import UNSCORED, Batch
from tests.training.runs import losses, train


def task_of(**config):
    return build_task(typed(resolve(config)))


@given(st.floats(0, 0.99), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_loss_is_the_cross_entropy_with_smoothed_targets(share, seed):
    """-sum q log p with q = (1 - s) [k = target] + s / K, written out."""
    torch.manual_seed(seed)
    logits, target = torch.randn(6, 10, dtype=torch.float64), torch.randint(10, (6,))
    smoothed = (1 - share) * torch.eye(10, dtype=torch.float64)[target] + share / 10
    expected = -(smoothed * logits.log_softmax(-1)).sum(-1).mean()
    task = task_of(task="digits", label_smoothing=share)
    batch = Batch(torch.zeros(6, 64, 1), target)
    torch.testing.assert_close(task.training_loss(logits, batch), expected)
    assert torch.equal(task.batch_loss(logits, batch), cross_entropy(logits, target))


def test_steps_that_are_not_scored_are_not_smoothed():
    task = task_of(task="associative_recall", label_smoothing=0.2)
    torch.manual_seed(0)
    logits = torch.randn(2, 5, task.sizes.outputs, dtype=torch.float64)
    target = torch.tensor([[1, UNSCORED, 3, UNSCORED, 0], [2, 2, UNSCORED, 1, UNSCORED]])
    found = task.training_loss(logits, Batch(torch.zeros(2, 5, dtype=torch.int64), target))
    expected = cross_entropy(
        logits.flatten(0, 1), target.flatten(), ignore_index=UNSCORED, label_smoothing=0.2
    )
    torch.testing.assert_close(found, expected)


def test_a_run_trains_with_it_and_is_scored_without_it(tiny, once):
    still = {"task": "digits", "optimizer": {"lr": 0.0, "ssm_lr": 0.0}, "batch_size": 64}
    still["trainer"] = {"max_epochs": 1, "limit_train_batches": 2}
    plain, first = once(train, tiny(**still))
    smooth, second = once(train, tiny(**still, label_smoothing=0.3))
    assert smooth.scores == plain.scores
    assert losses(first) != losses(second)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"task": "cascaded_tanks", "label_smoothing": 0.1}, "cascaded_tanks are not classes"),
        ({"label_smoothing": 1.0}, r"label_smoothing: must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(config, says):
    with pytest.raises(UsageError, match=says):
        task_of(**config)
