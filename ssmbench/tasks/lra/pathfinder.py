"""Pathfinder of the Long Range Arena: whether a dashed contour joins two marked points, read pixel
by pixel. With 128 pixels a side it is Path-X."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssmbench.errors import require
from ssmbench.options import COUNT, FOLDER, POSITIVE_COUNT, SEED, Allowed, one_of, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.digest import file_digest, listing_digest
from ssmbench.tasks.lra.contour_placing import MOST_DASHES
from ssmbench.tasks.lra.contours import contour_images
from ssmbench.tasks.lra.pathfinder_files import LEVELS, Listed, listed_images, read_images
from ssmbench.tasks.lra.pixels import PixelSequences
from ssmbench.tasks.lra.published_scores import arena_scores
from ssmbench.tasks.lra.records import Records, places, resolved
from ssmbench.tasks.lra.strokes import SMALLEST
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.sequences import Splits

_SIDE = Allowed(f"from {SMALLEST} to 1024", lambda value: SMALLEST <= value <= 1024)
_DASHES = Allowed("from 3 to 14", lambda value: 3 <= value <= 14)
assert MOST_DASHES >= 14


def _places(size: int, level: str) -> tuple[str, ...]:
    return places(f"pathfinder{size}/{LEVELS[level]}/metadata/", "", "pathfinder/")


@dataclass
class PathfinderConfig:
    """Which images.

    ``size``: pixels a side, so that a sequence has size^2 steps (32: Pathfinder, 128: Path-X).
    ``records``: ``published`` are those of the Arena in ``data_dir`` (else SSMBENCH_DATA),
    ``generated`` are drawn by this project: easier or harder than the published ones, nobody
    knows; ``auto`` takes the published ones where they are found. ``level`` of published images:
    ``hard`` (14 dashes in a contour, what everybody reports), ``intermediate`` (9), ``easy`` (6).

    Of generated images: how many ``images``, the ``dashes`` of a long contour, at most so many
    ``distractors``, drawn by ``generation_seed``.

    Of both, a tenth is for validation and a tenth for test. ``split_seed`` draws them; with 42 the
    published images are split as in the S4 repository.
    """

    size: int = option(SMALLEST, _SIDE)
    records: Records = Records.auto
    data_dir: str | None = option(None, FOLDER)
    level: str = option("hard", one_of(*LEVELS))
    images: int = option(200_000, POSITIVE_COUNT)
    dashes: int = option(14, _DASHES)
    distractors: int = option(6, COUNT)
    generation_seed: int = option(0, SEED)
    split_seed: int = option(42, SEED)

    def resolve_auto(self) -> None:
        """Decide what ``auto`` means here, so that a run's name tells which data it saw.

        Raises:
            UsageError: published records are asked for, or a folder is given, without the images.
        """
        names = _places(self.size, self.level)
        self.records = resolved(self.records, "pathfinder", self.data_dir, names)


@tasks.register(
    "pathfinder",
    config=PathfinderConfig,
    citation="D. Linsley et al., Learning long-range spatial dependencies with horizontal gated "
    "recurrent units, NeurIPS 2018, arXiv 1805.08315; Y. Tay et al., Long Range Arena, ICLR 2021, "
    "arXiv 2011.04006",
    summary="Whether two marked points are on one dashed contour; 32x32 pixels or more, 2 classes",
)
class Pathfinder(Classification):
    """u (B, size^2, 1): grey pixels row by row, from -1 to 1; target (B,) int64: 1 where both marks
    are on one contour."""

    config: PathfinderConfig

    published = PublishedData(
        places=(_places(SMALLEST, "hard"),),
        size=1_000_000_000,
        licence="Apache 2.0 (the Arena), MIT (the generator)",
        page="https://github.com/google-research/long-range-arena",
        optional=True,
        note="Path-X is the folder pathfinder128; where absent, similar images are generated.",
    )

    @property
    def sizes(self) -> TaskSizes:
        """One channel of size^2 steps, two classes."""
        size = self.config.size
        return TaskSizes(Channels(1), outputs=2, length=size**2, image=(size, size))

    @property
    def source(self) -> str:
        """Where the data come from. Raises UsageError where they are not found."""
        return "generated images" if self._folder is None else "published PNG files"

    def data_files(self) -> tuple[Path, ...]:
        """The lists of published images. Raises UsageError where one is not right."""
        return () if self._listed is None else self._listed.lists

    def data_facts(self) -> Mapping[str, Any]:
        """Names and sizes of published images, which are too many to read for a digest."""
        if self._folder is None:
            return {}
        return {"listing": listing_digest(self._folder.parent, "imgs/*/*.png")}

    @cached_property
    def _folder(self) -> Path | None:
        config = self.config
        names = _places(config.size, config.level)
        if resolved(config.records, "pathfinder", config.data_dir, names) is Records.generated:
            return None
        return require_data("pathfinder", config.data_dir, *names)

    @cached_property
    def _listed(self) -> Listed | None:
        return None if self._folder is None else listed_images(self._folder)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Images with short contours."""
        return {"records": Records.generated, "images": 80, "dashes": 5, "distractors": 2}

    def load(self) -> Splits:
        """The images in three splits, memory-mapped from the cache.

        Raises:
            UsageError: files that are not right, or too few images for three splits.
        """
        arrays = self._generated() if self._listed is None else self._read(self._listed)
        pixels = arrays["images"].reshape(len(arrays["labels"]), -1, 1)
        labels = np.asarray(arrays["labels"])
        parts = _split(len(labels), self.config.split_seed)
        scale = [0.5], [0.5]
        train, val, test = (PixelSequences(pixels, part, labels, scale) for part in parts)
        return Splits(train, val, test)

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those of Pathfinder or Path-X, for the published images of the hard level alone."""
        name = {32: "pathfinder", 128: "path-x"}.get(self.config.size)
        if self._folder is None or self.config.level != "hard" or name is None:
            return ()
        return arena_scores(name)

    def _generated(self) -> Arrays:
        config = self.config
        drawn = config.size, config.images, config.dashes, config.distractors

        def make() -> Arrays:
            size, images, dashes, distractors = drawn
            seed = (config.generation_seed,)
            pixels, labels = contour_images(size, images, seed, dashes, distractors)
            return {"images": pixels, "labels": labels}

        settings = {"drawn": drawn, "seed": config.generation_seed, "version": self.data_version}
        return cached_arrays("pathfinder-generated", settings, make)

    def _read(self, listed: Listed) -> Arrays:
        size = self.config.size

        def make() -> Arrays:
            return {"images": read_images(listed.images, size), "labels": listed.labels}

        lists = [file_digest(file) for file in listed.lists]
        settings = {"lists": lists, **self.data_facts(), "size": size, "version": self.data_version}
        return cached_arrays("pathfinder-published", settings, make)


def _split(number: int, seed: int) -> tuple[np.ndarray, ...]:
    """Places for training, validation and test, as torch's random_split draws them."""
    tenth = number // 10
    require(tenth >= 1, f"pathfinder: {number} images are too few for three splits; at least 10")
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed)).numpy()
    train, val, test = np.split(order, [number - 2 * tenth, number - tenth])
    return train, val, test
