"""Sequential MNIST: handwritten digits of 28 x 28 pixels, read pixel by pixel, 784 steps.

The four IDX files of the original distribution are read from the data folder or its subfolder
``mnist``, gzipped or not.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, SEED, one_of, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.published_scores import S5, as_published
from ssmbench.tasks.sequences import Sequences, Splits

CLASSES, SIDE = 10, 28
PIXELS = SIDE * SIDE
FILES = tuple(
    f"{part}-{kind}"
    for part in ("train", "t10k")
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)
_UNSIGNED_BYTES = 0x08


def _places(name: str) -> tuple[str, ...]:
    return tuple(f"{folder}{name}{end}" for folder in ("mnist/", "") for end in (".gz", ""))


PERMUTATIONS = ("none", "bit_reversal", "random")


@dataclass
class MNISTConfig:
    """``train_images`` and ``val_images`` are drawn from the 60,000 by ``split_seed``; the 10,000
    test images are the published ones, or the first ``test_images`` of them.

    ``permutation``: the order in which the pixels of all images are read (permuted sequential
    MNIST): ``none`` for row by row, ``bit_reversal`` as in the S4 repository, ``random`` by
    ``permutation_seed``.
    """

    data_dir: str | None = option(None, FOLDER)
    train_images: int = 55_000
    val_images: int = 5_000
    test_images: int = 10_000
    split_seed: int = option(0, SEED)
    permutation: str = option("none", one_of(*PERMUTATIONS), added=2)
    permutation_seed: int = option(0, SEED, added=2)


@tasks.register(
    "mnist",
    config=MNISTConfig,
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to "
    "Document Recognition, Proc. IEEE 86(11), 1998; as sequences: Le, Jaitly, Hinton 2015, "
    "arXiv 1504.00941",
    summary="28x28 handwritten digits as 784-step sequences, 10 classes; needs the data folder",
)
class MNIST(Classification):
    """u (B, 784, 1): the pixels in the order of ``permutation``, standardised; target (B,) int64:
    the digit."""

    config: MNISTConfig

    published = PublishedData(
        places=tuple(_places(name) for name in FILES),
        size=11_600_000,
        licence="none stated",
        page="https://yann.lecun.com/exdb/mnist/",
    )

    def check(self) -> None:
        """Raise a UsageError if a split would be empty."""
        _check(self.config)

    @property
    def sizes(self) -> TaskSizes:
        """One channel of 784 steps, ten classes, one prediction per sequence."""
        image = (SIDE, SIDE) if self.config.permutation == "none" else None
        return TaskSizes(Channels(1), outputs=CLASSES, length=PIXELS, image=image)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "published IDX files"

    def data_files(self) -> tuple[Path, ...]:
        """The files of images and labels of both parts. Raises a UsageError if one is missing."""
        return tuple(self._file(name) for name in FILES)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """300 images of random pixels, with every digit."""
        random = np.random.default_rng(0)
        for part, images in (("train", 240), ("t10k", 60)):
            pixels = random.integers(0, 256, (images, SIDE, SIDE), dtype=np.uint8)
            write_idx(folder / f"{part}-images-idx3-ubyte.gz", pixels)
            digits = (np.arange(images) % CLASSES).astype(np.uint8)
            write_idx(folder / f"{part}-labels-idx1-ubyte.gz", digits)
        sizes = {"train_images": 200, "val_images": 40, "test_images": 50}
        return {"data_dir": str(folder), **sizes}

    def load(self) -> Splits:
        """The images in three splits, standardised by the training part.

        Raises:
            UsageError: there is no data folder, a file is invalid, or the splits are larger than
                the data.
        """
        pixels, digits = self._read("train")
        tested, answers = self._read("t10k")
        _check_room(self.config, len(pixels), len(tested))
        order = np.random.default_rng(self.config.split_seed).permutation(len(pixels))
        val, rest = np.split(order, [self.config.val_images])
        train = rest[: self.config.train_images]
        mean, deviation = pixels[train].mean(), pixels[train].std()
        places = pixel_order(self.config.permutation, self.config.permutation_seed)

        def sequences(images: np.ndarray, labels: np.ndarray) -> Sequences:
            u = (torch.from_numpy(images).float() - float(mean)) / float(deviation)
            return Sequences(u.flatten(1)[:, places].unsqueeze(-1), torch.from_numpy(labels).long())

        kept = slice(self.config.test_images)
        return Splits(
            sequences(pixels[train], digits[train]),
            sequences(pixels[val], digits[val]),
            sequences(tested[kept], answers[kept]),
        )

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Of sequential MNIST in the order of the rows, with all test images."""
        free = ("data_dir", "split_seed", "permutation_seed")
        return (S5.accuracy("S5", 99.65),) if as_published(self.config, free) else ()

    def _read(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        pixels = read_idx(self._file(f"{part}-images-idx3-ubyte"), (SIDE, SIDE))
        file = self._file(f"{part}-labels-idx1-ubyte")
        labels = read_idx(file, ())
        if len(labels) != len(pixels) or labels.max() >= CLASSES:
            raise UsageError(f"{file}: does not hold one digit for each of {len(pixels)} images")
        return pixels, labels

    def _file(self, name: str) -> Path:
        return require_data("mnist", self.config.data_dir, *_places(name))


def pixel_order(permutation: str, seed: int) -> Int64[np.ndarray, " pixels"]:
    """The places of the pixels in the order in which they are read; ``permutation`` as in the
    config."""
    if permutation == "random":
        return np.random.default_rng(seed).permutation(PIXELS)
    if permutation == "bit_reversal":
        bits = (PIXELS - 1).bit_length()
        reversed_bits = [int(f"{place:0{bits}b}"[::-1], 2) for place in range(1 << bits)]
        return np.array([place for place in reversed_bits if place < PIXELS])
    return np.arange(PIXELS)


def read_idx(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, " n *shape"]:
    """Items of a shape from an IDX file of unsigned bytes (LeCun's layout: magic, sizes, values).

    Raises:
        UsageError: the file cannot be read or does not hold bytes of this shape.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    head = 4 + 4 * (1 + len(shape))
    magic = bytes((0, 0, _UNSIGNED_BYTES, 1 + len(shape)))
    found = tuple(np.frombuffer(raw[4:head], ">u4").tolist()) if len(raw) > head else ()
    if raw[:4] != magic or found[1:] != shape or len(raw) != head + math.prod(found):
        raise UsageError(f"{path}: not an IDX file of unsigned bytes of shape (n, *{shape})")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(found).copy()


def write_idx(path: Path, values: UInt8[np.ndarray, ...]) -> None:
    """Unsigned bytes as a gzipped IDX file, which :func:`read_idx` reads."""
    magic = bytes((0, 0, _UNSIGNED_BYTES, values.ndim))
    path.write_bytes(
        gzip.compress(magic + np.array(values.shape, ">u4").tobytes() + values.tobytes())
    )


def _check(config: MNISTConfig) -> None:
    for name in ("train_images", "val_images", "test_images"):
        size = getattr(config, name)
        require(size > 0, f"mnist: {name} must be positive, not {size}")


def _check_room(config: MNISTConfig, training: int, testing: int) -> None:
    both = config.train_images + config.val_images
    require(both <= training, f"mnist: train_images + val_images are {both} of {training} images")
    tested = config.test_images
    require(tested <= testing, f"mnist: test_images: {tested} of {testing} images")
