"""The sequential digits' split and scale."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ssmbench.errors import UsageError
from ssmbench.tasks.digits import CLASSES, Digits, DigitsConfig


def digits(**settings):
    return Digits(DigitsConfig(**settings), batch_size=10, seed=0)


def images(task, split):
    return {tuple(row) for row in task.split(split).u.flatten(1).tolist()}


def test_splits_share_no_image_and_leave_none_out():
    task = digits()
    parts = [images(task, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [1197, 240, 360]
    assert len(set.union(*parts)) == 1797


def test_split_has_the_classes_in_proportion():
    for split in ("train", "val", "test"):
        share = torch.bincount(digits().split(split).target).float()
        share /= share.sum()
        assert (share - 1 / CLASSES).abs().max() < 0.01


def test_split_follows_split_seed_alone():
    assert images(digits(), "test") == images(digits(), "test")
    assert images(digits(), "test") != images(digits(split_seed=1), "test")


def test_sequence_is_the_image_row_by_row_and_keeps_its_label():
    pixels, labels = load_digits(return_X_y=True)
    data = digits().split("val")
    u = data.u[..., 0].double().numpy()
    # Standardising is affine: the pixels come back from the smallest and the largest value.
    smallest, largest = u.min(), u.max()
    back = np.rint((u - smallest) / (largest - smallest) * 16)
    label_of = {tuple(row): label for row, label in zip(pixels, labels, strict=True)}
    assert [label_of[tuple(row)] for row in back] == data.target.tolist()


def test_training_part_is_standardised():
    u = digits().split("train").u
    assert abs(u.mean().item()) < 1e-5
    assert abs(u.std(correction=0).item() - 1) < 1e-5


def test_accuracy_of_known_predictions():
    task = digits()
    target = task.split("test").target
    logits = torch.nn.functional.one_hot(target, CLASSES).float()
    logits[:90] = torch.roll(logits[:90], 1, dims=1)
    metrics = task.metrics()
    metrics.update(*task.to_metric(logits, target))
    assert metrics.compute()["accuracy"].item() == pytest.approx(0.75)


@pytest.mark.parametrize("settings", [{"val_images": 5}, {"test_images": 1557}])
def test_split_too_small_is_refused_in_one_line(settings):
    with pytest.raises(UsageError, match="must be at least 10") as caught:
        digits(**settings).setup()
    assert "\n" not in str(caught.value)
