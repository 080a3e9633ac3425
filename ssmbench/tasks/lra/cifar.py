"""CIFAR-10 read pixel by pixel: in grey, the Image task of the Long Range Arena, and in colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import UInt8

from ssmbench.errors import require
from ssmbench.options import FOLDER, SEED, Allowed, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Channels, TaskSizes, Tokens
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.lra.cifar_files import (
    BATCHES,
    CLASSES,
    COLOURS,
    PIXELS,
    SIDE,
    TEST,
    cifar_files,
    grey,
    places,
    read_cifar,
)
from ssmbench.tasks.lra.pixels import PixelSequences
from ssmbench.tasks.lra.published_scores import SCIFAR_SCORES, arena_scores
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.published_scores import as_published
from ssmbench.tasks.sequences import Splits

_SHARE = Allowed("above 0 and below 1", lambda value: 0 < value < 1)
#: The normalisation of the S4 repository.
_GREY = [122.6 / 255], [61 / 255]
_COLOUR = [0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261]
_KRIZHEVSKY = (
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, University of "
    "Toronto"
)


@dataclass
class ColourConfig:
    """Where the images are, and how they are split.

    ``data_dir`` (else SSMBENCH_DATA): a folder with the binary version of CIFAR-10. Of its five
    files of training images those are read that are there; the run's result says how many.
    ``val_share`` of the training images, drawn by ``split_seed``, are for validation: 5,000 of
    50,000. With 42 the images are split as in the S4 repository.
    """

    data_dir: str | None = option(None, FOLDER)
    val_share: float = option(0.1, _SHARE)
    split_seed: int = option(42, SEED)


@dataclass
class ImageConfig(ColourConfig):
    """Where the images are, and how they are split and read.

    ``data_dir`` (else SSMBENCH_DATA): a folder with the binary version of CIFAR-10. Of its five
    files of training images those are read that are there; the run's result says how many.
    ``val_share`` of the training images, drawn by ``split_seed``, are for validation: 5,000 of
    50,000. With 42 the images are split as in the S4 repository. ``tokens``: whether each pixel is
    one of 256 tokens, as in the Arena, instead of a number, as in the S4 repository.
    """

    tokens: bool = False


class _Cifar(Classification):
    """The images in three splits, from the binary version."""

    config: ColourConfig
    name: ClassVar[str]

    published = PublishedData(
        places=(*(places(name) for name in BATCHES), places(TEST)),
        size=184_000_000,
        licence="none stated",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
    )

    @property
    def source(self) -> str:
        """Where the data come from. Raises UsageError where they are not found."""
        found, whole = len(self.data_files()) - 1, len(BATCHES)
        return "published binary files" + ("" if found == whole else f" ({found} of {whole})")

    def data_files(self) -> tuple[Path, ...]:
        """The files that are read. Raises UsageError where there are none."""
        train, test = cifar_files(self.name, self.config.data_dir)
        return (*train, test)

    def _as_published(self) -> bool:
        """Whether all images are there, and split in the published proportion."""
        complete = len(self.data_files()) == len(BATCHES) + 1
        return complete and as_published(self.config, ("data_dir", "split_seed", "tokens"))

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Sixty images of random pixels."""
        random = np.random.default_rng(0)
        for name, images in ((BATCHES[0], 40), (TEST, 20)):
            records = random.integers(0, 256, (images, 1 + COLOURS * PIXELS), np.uint8)
            records[:, 0] = np.arange(images) % CLASSES
            records.tofile(folder / name)
        return {"data_dir": str(folder)}

    def load(self) -> Splits:
        """The images in three splits.

        Raises:
            UsageError: files that are not right, or too few images for the splits.
        """
        *train, test = self.data_files()
        pixels, labels = read_cifar(train)
        order = torch.randperm(
            len(labels), generator=torch.Generator().manual_seed(self.config.split_seed)
        )
        kept = int(len(labels) * (1 - self.config.val_share))
        enough = 0 < kept < len(labels)
        require(enough, f"{self.name}: val_share leaves {kept} of {len(labels)} images to train on")
        rows = order.numpy()
        tested, answers = read_cifar([test])
        return Splits(
            self._sequences(pixels, rows[:kept], labels),
            self._sequences(pixels, rows[kept:], labels),
            self._sequences(tested, np.arange(len(answers)), answers),
        )

    def _sequences(
        self, pixels: UInt8[np.ndarray, "n 1024 3"], rows: np.ndarray, labels: np.ndarray
    ) -> PixelSequences:
        return PixelSequences(pixels, rows, labels, _COLOUR)


@tasks.register(
    "scifar",
    config=ColourConfig,
    citation=f"{_KRIZHEVSKY}; as sequences: A. Gu et al., Efficiently Modeling Long Sequences with "
    "Structured State Spaces, ICLR 2022, arXiv 2111.00396",
    summary="32x32 colour photographs as 1,024 steps of 3 channels, 10 classes; needs the data "
    "folder",
)
class ColourImages(_Cifar):
    """u (B, 1024, 3): red, green and blue row by row, normalised; target (B,) int64: the class."""

    name = "scifar"

    @property
    def sizes(self) -> TaskSizes:
        """Three channels of 1,024 steps, ten classes."""
        return TaskSizes(Channels(COLOURS), CLASSES, PIXELS, image=(SIDE, SIDE))

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Of sequential CIFAR-10, where all images are read."""
        return SCIFAR_SCORES if self._as_published() else ()


@tasks.register(
    "image",
    config=ImageConfig,
    citation=f"{_KRIZHEVSKY}; Y. Tay et al., Long Range Arena, ICLR 2021, arXiv 2011.04006",
    summary="32x32 grey photographs as 1,024 steps or tokens, 10 classes; needs the data folder",
)
class GreyImages(_Cifar):
    """u (B, 1024, 1): (grey - 122.6) / 61 row by row, or with ``tokens`` (B, 1024) int64, the grey
    value; target (B,) int64: the class."""

    config: ImageConfig
    name = "image"

    @property
    def sizes(self) -> TaskSizes:
        """1,024 steps, ten classes."""
        input = Tokens(256) if self.config.tokens else Channels(1)
        return TaskSizes(input, CLASSES, PIXELS, image=(SIDE, SIDE))

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those of the Arena, where all images are read."""
        return arena_scores("image") if self._as_published() else ()

    def _sequences(
        self, pixels: UInt8[np.ndarray, "n 1024 3"], rows: np.ndarray, labels: np.ndarray
    ) -> PixelSequences:
        scale = None if self.config.tokens else _GREY
        return PixelSequences(grey(pixels), rows, labels, scale)
