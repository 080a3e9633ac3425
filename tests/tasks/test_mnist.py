"""Sequential MNIST: the published files, and what is said of others."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.digest import digest_of
from ssmbench.tasks.mnist import MNIST, pixel_order, read_idx, write_idx
from tests.tasks.tiny import tiny_options, tiny_task

DATA = os.environ.get("SSMBENCH_DATA", "")
published = pytest.mark.skipif(
    not (Path(DATA) / "mnist").is_dir(), reason="SSMBENCH_DATA holds no folder mnist"
)
SIZES = {key: size for key, size in tiny_options("mnist").items() if key != "data_dir"}


def task_of(**options):
    entry = tasks.get("mnist")
    return entry.build(entry.config(**options), batch_size=8, seed=0)


@published
def test_published_files():
    task = task_of(data_dir=DATA, train_images=1000, val_images=500)
    train, val, test = (task.split(name) for name in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [1000, 500, 10_000]
    assert train.u.shape == (1000, 784, 1)
    assert abs(train.u.mean().item()) < 1e-5
    assert train.u.std().item() == pytest.approx(1, abs=1e-4)
    counts = torch.bincount(test.target, minlength=10)  # of the published test set
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_splits_do_not_overlap_and_are_seeded(tmp_path):
    MNIST.tiny(tmp_path)
    first, again, other = (
        task_of(data_dir=str(tmp_path), **SIZES, split_seed=seed) for seed in (0, 0, 1)
    )
    train, val = first.split("train"), first.split("val")
    assert not {tuple(u.flatten().tolist()) for u in train.u} & {
        tuple(u.flatten().tolist()) for u in val.u
    }
    assert torch.equal(train.u, again.split("train").u)
    assert not torch.equal(train.target, other.split("train").target)


def test_files_unzipped_are_read_too(tmp_path):
    MNIST.tiny(tmp_path)
    zipped = task_of(data_dir=str(tmp_path), **SIZES).split("test").u
    for file in tmp_path.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert torch.equal(task_of(data_dir=str(tmp_path), **SIZES).split("test").u, zipped)


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"\x00\x00\x08\x03"), gzip.compress(b"x" * 5000)],
    ids=["empty", "plain", "cut off", "other"],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, content):
    MNIST.tiny(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte\.gz: (cannot be|not an IDX)"):
        task_of(data_dir=str(tmp_path), **SIZES).split("train")


def test_wrong_shapes_are_refused(tmp_path):
    file = tmp_path / "x.gz"
    write_idx(file, np.zeros((3, 5, 5), np.uint8))
    assert read_idx(file, (5, 5)).shape == (3, 5, 5)
    with pytest.raises(UsageError, match="not an IDX file"):
        read_idx(file, (28, 28))


def test_without_a_folder_it_says_what_is_needed():
    with pytest.raises(UsageError, match=r"set task\.data_dir, or SSMBENCH_DATA"):
        task_of().split("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_images": 0}, "train_images must be positive"),
        ({"train_images": 250}, "are 290 of 240 images"),
        ({"test_images": 61}, "61 of 60 images"),
    ],
)
def test_splits_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        tiny_task("mnist", **options).split("train")


# --- permuted pixels ----------------------------------------------------------------------------


def test_permutations_move_the_pixels_of_all_images_alike():
    plain = tiny_task("mnist").split("test").u
    for options in (
        {"permutation": "bit_reversal"},
        {"permutation": "random"},
        {"permutation": "random", "permutation_seed": 1},
    ):
        order = pixel_order(options["permutation"], options.get("permutation_seed", 0))
        assert sorted(order.tolist()) == list(range(784))
        assert torch.equal(tiny_task("mnist", **options).split("test").u, plain[:, order])
    assert pixel_order("random", 0).tolist() != pixel_order("random", 1).tolist()


def test_bit_reversal_is_that_of_the_s4_repository():
    """There: halves of a column of numbers side by side, again and again; then those below n."""
    order = np.arange(1024).reshape(1024, 1)
    while len(order) > 1:
        order = np.hstack(np.split(order, 2))
    expected = order[0][order[0] < 784]
    assert pixel_order("bit_reversal", 0).tolist() == expected.tolist()


def test_options_that_were_added_do_not_change_the_digest_of_earlier_data():
    task = tiny_task("mnist")
    names = ("train_images", "val_images", "test_images", "split_seed")
    options = {name: getattr(task.config, name) for name in names}
    earlier = digest_of({"task": "MNIST", "version": 1, **options}, task.data_files())
    assert task.data_digest == earlier
    assert tiny_task("mnist", permutation="bit_reversal").data_digest != earlier
