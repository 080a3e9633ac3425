"""CIFAR-10 in grey and in colour: the real files, the record layout, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from tests.tasks.tiny import tiny_task

DATA = os.environ.get("SSMBENCH_DATA", "")
published = pytest.mark.skipif(
    not (Path(DATA) / "cifar10").is_dir(), reason="SSMBENCH_DATA holds no folder cifar10"
)


def task_of(name, **options):
    entry = tasks.get(name)
    return entry.build(entry.config(**options), batch_size=8, seed=0)


def write_images(folder: Path, batches=(1, 2), images=20) -> np.ndarray:
    """Files of random records; all training records in a row."""
    folder.mkdir(parents=True, exist_ok=True)
    random, written = np.random.default_rng(0), []
    for name in (*(f"data_batch_{k}" for k in batches), "test_batch"):
        records = random.integers(0, 256, (images, 3073), np.uint8)
        records[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
        written.append(records)
    return np.concatenate([*written[:-1], np.empty((0, 3073), np.uint8)])


@pytest.mark.parametrize("layout", ["cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "."])
def test_pixels_are_where_the_layout_says(tmp_path, layout):
    records = write_images(tmp_path / layout)
    colour = task_of("scifar", data_dir=str(tmp_path))
    assert colour.source == "published binary files (2 of 5)"
    drawn = torch.utils.data.random_split(
        range(40), [36, 4], generator=torch.Generator().manual_seed(42)
    )
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.247, 0.243, 0.261])
    for part, name in zip(drawn, ("train", "val"), strict=True):
        batch = colour.sample(name)
        assert batch.target.tolist() == records[part.indices, 0].tolist()
        planes = records[part.indices, 1:].reshape(-1, 3, 32, 32)
        for row, column in ((0, 0), (5, 31), (31, 2)):
            expected = (planes[:, :, row, column] / 255 - mean) / deviation
            np.testing.assert_allclose(batch.u[:, 32 * row + column], expected, atol=1e-5)


def test_grey_is_what_pillow_makes_of_it(tmp_path):
    records = write_images(tmp_path)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(42))[:36]
    planes = records[order.numpy(), 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    expected = np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in planes])
    tokens = task_of("image", data_dir=str(tmp_path), tokens=True).sample("train").u
    assert tokens.dtype == torch.int64
    assert np.array_equal(tokens, expected.reshape(36, 1024))
    real = task_of("image", data_dir=str(tmp_path)).sample("train").u
    np.testing.assert_allclose(real[..., 0], (expected.reshape(36, 1024) - 122.6) / 61, atol=1e-5)


def test_every_image_is_in_one_split_and_test_images_stay_in_order():
    task = tiny_task("scifar")
    rows = [task.split(name).rows.tolist() for name in ("train", "val")]
    assert sorted(rows[0] + rows[1]) == list(range(40))
    assert task.sample("test").target.tolist() == [k % 10 for k in range(20)]
    with pytest.raises(UsageError, match="val_share leaves 0 of 40 images to train on"):
        tiny_task("scifar", val_share=0.99).split("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"data_batch_1\.bin: 0 bytes; expected records of 3073 bytes"),
        (bytes(3074), r"data_batch_1\.bin: 3074 bytes"),
        (bytes(3073) + bytes([10]) + bytes(3072), r"data_batch_1\.bin: record 2 has the label 10"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    write_images(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        task_of("image", data_dir=str(tmp_path)).split("train")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="image: needs a data folder with"):
        task_of("image").split("train")
    write_images(tmp_path, batches=())
    with pytest.raises(UsageError, match=r"data_batch_1\.bin"):
        task_of("scifar", data_dir=str(tmp_path)).split("train")


@published
def test_published_files():
    task = task_of("image", data_dir=DATA)
    train = task.sample("train", 1000).u
    assert train.shape == (1000, 1024, 1)
    assert abs(train.mean().item()) < 0.05
    assert train.std().item() == pytest.approx(1, abs=0.05)
    assert len(task.split("train")) == 9 * len(task.split("val"))
