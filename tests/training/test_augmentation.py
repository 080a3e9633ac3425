"""Augmentation from a run's config: in training only, by the run's seed, and where it suits."""

from __future__ import annotations

import pytest
import torch

from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, resolve, typed
from ssmbench.errors import UsageError
from tests.training.runs import losses, train

NOISE = [{"name": "noise", "deviation": 0.3}]


def task_of(**config):
    return build_task(typed(resolve(config)))


def test_augmentations_are_applied_in_the_order_of_the_list():
    names = ["shift", "mask", "flip", "noise"]
    task = task_of(task="digits", augment=names)
    assert [type(one).__name__.lower() for one in task.augmentations] == names
    batch = task.split("train").batch(range(4))
    torch.manual_seed(0)
    made = task.augmented(batch)
    torch.manual_seed(0)
    one_by_one = batch
    for name in names:
        one_by_one = task_of(task="digits", augment=[name]).augmented(one_by_one)
    assert torch.equal(made.u, one_by_one.u)
    assert torch.equal(made.target, batch.target)


def test_only_training_batches_are_augmented(tiny, once):
    """With all of the noise in training, the untrained network's validation is as before."""
    plain, _ = once(train, tiny(optimizer={"lr": 0.0, "ssm_lr": 0.0}))
    noisy, _ = once(train, tiny(optimizer={"lr": 0.0, "ssm_lr": 0.0}, augment=NOISE))
    assert noisy.scores == plain.scores


def test_every_step_draws_anew_from_the_seed(tiny, once):
    rates = {"optimizer": {"lr": 0.0, "ssm_lr": 0.0}}
    _, first = once(train, tiny(augment=NOISE, **rates))
    _, plain = once(train, tiny(**rates))
    _, other = once(train, tiny(augment=NOISE, seed=1, **rates))
    same = losses(plain)
    assert all(losses(first)[step] != same[step] for step in same)
    assert losses(first) != losses(other)


def test_a_list_of_components_is_part_of_a_runs_identity():
    plain = fingerprint(resolve({}))
    assert plain == fingerprint(resolve({"augment": []})) == fingerprint(resolve({"augment": None}))
    spelt = [{"name": "noise", "deviation": 0.1}]
    noise = fingerprint(resolve({"augment": ["noise"]}))
    assert noise == fingerprint(resolve({"augment": spelt})) != plain
    orders = [fingerprint(resolve({"augment": a})) for a in (["noise", "flip"], ["flip", "noise"])]
    assert len({noise, plain, *orders}) == 4


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        ("noise", "augment: must be a list of augmentations"),
        (["nois"], "did you mean 'noise'"),
        ([7], "augment.0: must be an augmentation's name"),
        (["noise", {"name": "shift", "most": -1}], r"augment.1.most: must be finite and not neg"),
        ([{"name": "shift", "fill": "zeros"}], r"augment.0.fill: 'zeros' is not a choice"),
        ([{"name": "noise", "much": 1}], r"augment.0 \(noise\): much"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(augment, says):
    with pytest.raises(UsageError, match=says):
        resolve({"augment": augment})


@pytest.mark.parametrize(
    ("task", "augment", "says"),
    [
        ("listops", "noise", "augmentation noise: .* this task's inputs are tokens"),
        ("cascaded_tanks", "shift", "augmentation shift: .* this task has other targets"),
        ("adding", "amplitude", "augmentation amplitude: .* this task has other targets"),
        ({"name": "mnist", "permutation": "random"}, "flip", "not an image's pixels"),
    ],
)
def test_what_does_not_suit_a_task_is_refused(task, augment, says):
    with pytest.raises(UsageError, match=says):
        task_of(task=task, augment=[augment])


def test_an_image_with_dropped_pixels_is_none():
    config = {"task": "digits", "sampling": {"dropped": 0.2}}
    assert len(task_of(**config, augment=["shift", "speed"]).augmentations) == 2
    with pytest.raises(UsageError, match="not an image's pixels"):
        task_of(**config, augment=["crop"])


def test_noise_suits_targets_that_are_numbers():
    assert len(task_of(task="cascaded_tanks", augment=["noise"]).augmentations) == 1
