"""What a task's ``load`` returns is checked once, wholly, in sentences that name its line."""

from pathlib import Path

import pytest
import torch

from ssmbench.errors import PluginError
from ssmbench.spec import Channels, TaskSizes, Tokens
from ssmbench.tasks.batch import UNSCORED
from ssmbench.tasks.contract import check_splits
from ssmbench.tasks.sequences import Sequences, Splits

CLASSES = TaskSizes(Channels(1), outputs=3, length=4)
STEPS = TaskSizes(Tokens(5), outputs=3, length=4, per_step=True)


def load():
    """Stands for a task's."""


def check(u, target, sizes=CLASSES):
    good = Sequences(u[:1].clone(), target[:1].clone())
    check_splits(load, sizes, Splits(good, good, Sequences(u, target)))


def signals(dtype=torch.float32):
    return torch.zeros(6, 4, 1, dtype=dtype), torch.zeros(6, dtype=torch.int64)


def changed(tensor, value):
    tensor[5] = value
    return tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u, y: (u.double(), y), "u is float64; channels must be float32"),
        (lambda u, y: (u[..., 0], y), r"u has the shape \(B, 4\); .* channels, \(B, L, 1\)"),
        (lambda u, y: (changed(u, torch.nan), y), "the split test: u is not finite"),
        (lambda u, y: (u, y.int()), "targets are int32; classes must be int64, values float32"),
        (
            lambda u, y: (u, changed(y, 3)),
            r"split test: classes in 0\.\.3, .* 3 outputs, 0\.\.2",
        ),
        (lambda u, y: (u, changed(y, -1)), r"classes in -1\.\.0"),
        (lambda u, y: (u, changed(y.float(), torch.inf)), "the split test: a target is not finite"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(PluginError, match=message) as caught:
        check(*change(*signals()))
    assert Path(__file__).name in str(caught.value)


def test_steps_that_are_not_scored_have_no_class():
    u, target = torch.zeros(6, 4, dtype=torch.int64), torch.full((6, 4), UNSCORED)
    check(u, target, STEPS)
    with pytest.raises(PluginError, match=r"tokens in 0\.\.5, but the vocabulary is 0\.\.4"):
        check(changed(u, 5), target, STEPS)
