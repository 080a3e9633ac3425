"""Augmentations of images, whose pixels are the steps of a sequence, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ssmbench.augmentations.base import Augmentation, Signals, taken
from ssmbench.options import COUNT, FRACTION, option
from ssmbench.registry import augmentations
from ssmbench.spec import TaskSizes


class ImageAugmentation(Augmentation):
    """An augmentation that moves pixels; ``rows`` and ``columns`` are the image's."""

    needs_image = True

    def __init__(self, config: Any, *, sizes: TaskSizes):
        super().__init__(config, sizes=sizes)
        assert sizes.image is not None
        self.rows, self.columns = sizes.image

    def grid(self, u: Tensor) -> tuple[Int64[Tensor, "rows 1"], Int64[Tensor, " columns"]]:
        """The number of each row and of each column."""
        rows = torch.arange(self.rows, device=u.device)[:, None]
        return rows, torch.arange(self.columns, device=u.device)


@dataclass
class FlipConfig:
    """How often."""

    #: Probability that an image is mirrored.
    probability: float = option(0.5, FRACTION)


@augmentations.register(
    "flip",
    config=FlipConfig,
    citation="A. Krizhevsky, I. Sutskever, G.E. Hinton, ImageNet classification with deep "
    "convolutional neural networks, NeurIPS 2012",
    summary="Images mirrored, left to right",
)
class Flip(ImageAugmentation):
    """Each image with its columns in reverse order, at random."""

    config: FlipConfig

    def __call__(self, signals: Signals) -> Signals:
        u = signals.u
        rows, columns = self.grid(u)
        mirrored = (rows * self.columns + columns.flip(0)).flatten()
        chosen = torch.rand(len(u), 1, device=u.device) < self.config.probability
        return taken(signals, torch.where(chosen, mirrored, signals.steps))


@dataclass
class CropConfig:
    """How far."""

    #: Largest shift in pixels, in each direction: the width of the border of zeros.
    most: int = option(4, COUNT)


@augmentations.register(
    "crop",
    config=CropConfig,
    citation="K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR "
    "2016, arXiv 1512.03385, section 4.2",
    summary="Images with a border of zeros, cut to their size at a random place",
)
class Crop(ImageAugmentation):
    """Each image moved by whole pixels, uniformly in -most..most down and to the right."""

    config: CropConfig

    def __call__(self, signals: Signals) -> Signals:
        u, most = signals.u, self.config.most
        down, right = torch.randint(-most, most + 1, (2, len(u), 1, 1), device=u.device)
        rows, columns = self.grid(u)
        row, column = rows - down, columns - right  # (B, rows, 1), (B, 1, columns)
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        places = row.clamp(0, self.rows - 1) * self.columns + column.clamp(0, self.columns - 1)
        return taken(signals, places.flatten(1), inside.flatten(1))
