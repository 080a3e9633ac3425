"""Small files in MNIST's published layout."""

from __future__ import annotations

import functools
import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TRAIN, TEST = 260, 60


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of unsigned bytes as LeCun's IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_mnist(folder: Path, train: int = TRAIN, test: int = TEST) -> None:
    """The four gzipped files, with random images and every digit."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, images in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
        labels = (np.arange(images) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory()
    write_mnist(Path(folder.name) / "mnist")
    return folder


def tiny_mnist() -> dict[str, Any]:
    """Options of the task that read such files; they are there until the process ends."""
    sizes = {"train_images": 200, "val_images": 40, "test_images": 50}
    return {"data_dir": _folder().name, **sizes}


#: Tasks that come without data read files of the published layout, written for the test.
OPTIONS = {"mnist": tiny_mnist}
