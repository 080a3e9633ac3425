"""Sequential digits: scikit-learn's bundled handwritten digits, read pixel by pixel.

A small version of sequential MNIST, with nothing to download.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ssmbench.errors import UsageError
from ssmbench.options import SEED, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.sequences import Sequences, Splits

IMAGES = 1797
CLASSES = 10
SIDE = 8
PIXELS = SIDE * SIDE


@dataclass
class DigitsConfig:
    """The split: images for validation and test, and the seed that draws them.

    ``split_seed`` does not depend on the run's seed: all runs are tested on the same images.
    """

    val_images: int = 240
    test_images: int = 360
    split_seed: int = option(0, SEED)


@tasks.register(
    "digits",
    config=DigitsConfig,
    citation=(
        "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine"
        " Learning Repository, 1998; F. Pedregosa et al., Scikit-learn: Machine Learning in"
        " Python, JMLR 12, 2011"
    ),
    summary="8x8 handwritten digits as 64-step sequences, 10 classes; bundled with scikit-learn",
)
class Digits(Classification):
    """u (B, 64, 1): the pixels row by row, standardised; target (B,) int64: the digit."""

    config: DigitsConfig

    def check(self) -> None:
        """Raise a UsageError if a split is smaller than the number of classes."""
        _check(self.config)

    @property
    def sizes(self) -> TaskSizes:
        """One channel of 64 steps, ten classes, one prediction per sequence."""
        return TaskSizes(Channels(1), outputs=CLASSES, length=PIXELS, image=(SIDE, SIDE))

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "scikit-learn load_digits"

    def load(self) -> Splits:
        """The images in three stratified splits.

        Raises:
            UsageError: a split has fewer images than there are classes.
        """
        # Importing scikit-learn takes a second, which listing the tasks does not need.
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        parts = _stratified(digits, self.config)
        training = pixels[parts[0]]
        u = torch.from_numpy((pixels - training.mean()) / training.std()).float().unsqueeze(-1)
        target = torch.from_numpy(digits).long()
        train, val, test = (Sequences(u[part], target[part]) for part in parts)
        return Splits(train, val, test)


def _check(config: DigitsConfig) -> None:
    sizes = {"val_images": config.val_images, "test_images": config.test_images}
    sizes["the images left for training"] = IMAGES - sum(sizes.values())
    for name, size in sizes.items():
        if size < CLASSES:
            raise UsageError(f"digits: {name} must be at least {CLASSES}, not {size}")


def _stratified(digits: np.ndarray, config: DigitsConfig) -> tuple[np.ndarray, ...]:
    """Indices for training, validation and test, each with the same proportion of classes."""
    from sklearn.model_selection import train_test_split

    def cut_off(indices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        kept, cut = train_test_split(
            indices, test_size=size, stratify=digits[indices], random_state=config.split_seed
        )
        return np.asarray(kept), np.asarray(cut)

    rest, test = cut_off(np.arange(len(digits)), config.test_images)
    train, val = cut_off(rest, config.val_images)
    return train, val, test
