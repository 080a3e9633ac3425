"""Images of dashed contours for Pathfinder, drawn by this project: two long contours of equal
length, short distractors, and two discs that mark ends of the long ones.

After D. Linsley et al., Learning long-range spatial dependencies with horizontal gated recurrent
units, NeurIPS 2018, arXiv 1805.08315; not their generator, so that scores are not comparable with
those on the published images.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from ssmbench.tasks.lra.contour_placing import Placing, Plan
from ssmbench.tasks.lra.strokes import FINEST_GRID, Pen, draw
from ssmbench.tasks.progress import Preparation

#: Images that are made together: part of what they are a function of.
CHUNK = 256
#: Images that are drawn together.
_SHEET = 64


def contour_images(
    size: int, number: int, seed: tuple[int, ...], dashes: int = 14, distractors: int = 6
) -> tuple[UInt8[np.ndarray, "n size size"], Int64[np.ndarray, " n"]]:
    """Images and labels: 1 where both discs mark the ends of one contour, 0 where they mark an end
    of each.

    ``dashes``: of a long contour, distractors have a third of them. There are fewer than
    ``distractors`` where they find no room. A function of the arguments; the first images do not
    depend on ``number``.
    """
    images = np.empty((number, size, size), np.uint8)
    labels = np.empty(number, np.int64)
    with Preparation("pathfinder: images", number) as progress:
        for chunk, first in enumerate(range(0, number, CHUNK)):
            random = np.random.default_rng((*seed, chunk))
            label = random.integers(0, 2, CHUNK)
            segments = _placed(random, size, dashes, distractors)
            labels[first : first + CHUNK] = label[: number - first]
            for sheet in range(first, min(first + CHUNK, number), _SHEET):
                held = slice(sheet - first, min(sheet + _SHEET, number) - first)
                images[sheet : sheet + _SHEET] = _drawn(segments[held], label[held], size)
            progress.advance(min(CHUNK, number - first))
    return images, labels


def _placed(
    random: np.random.Generator, size: int, dashes: int, distractors: int
) -> Float64[np.ndarray, "n contours dashes 2 2"]:
    """Segments in pixels of the image."""
    grid = min(size, FINEST_GRID)
    pen = Pen.of(grid)
    # Pixels finer than the cells of the grid may reach half a cell beyond the lit ones.
    clearance = pen.reach + (size > grid)
    placing = Placing(Plan(grid, pen, clearance, dashes, distractors), CHUNK, random)
    placing.run()
    return (placing.segments + 0.5) * (size / grid) - 0.5


def _drawn(
    segments: Float64[np.ndarray, "n contours dashes 2 2"],
    label: Int64[np.ndarray, " n"],
    size: int,
) -> UInt8[np.ndarray, "n size size"]:
    pen = Pen.of(size)
    room = math.ceil(pen.core + 2 * pen.marker) + 4
    side = size + 2 * room
    canvas = np.zeros((len(label), side, side), np.uint8)
    dashes = segments.reshape(len(label), -1, 2, 2)
    for slot in range(dashes.shape[1]):
        there = np.flatnonzero(np.isfinite(dashes[:, slot, 0, 0]))
        draw(canvas, there, dashes[there, slot], pen.thickness / 2, room)
    discs = _marked_ends(segments, label)
    for one in (0, 1):
        draw(canvas, np.arange(len(label)), discs[:, [one, one]], pen.marker, room)
    return canvas[:, room:-room, room:-room]


def _marked_ends(
    segments: Float64[np.ndarray, "n contours dashes 2 2"], label: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 2 2"]:
    """Where the two discs are, [disc, [y, x]].

    Each image has two pairs of ends of one contour and four of different ones. Whatever its label
    is, the discs could be at the pair of the other kind that is nearest in distance: otherwise the
    distance between the discs alone would tell the label in 73% of all images.
    """
    own = np.stack([segments[:, :2, 0, 0], segments[:, :2, -1, 1]], 2)  # (n, contour, end, [y, x])
    crossed = np.stack([own[:, 0, [0, 0, 1, 1]], own[:, 1, [0, 1, 0, 1]]], 2)
    between = np.abs(_apart(own)[:, :, None] - _apart(crossed)[:, None])
    nearest = between.reshape(len(label), -1).argmin(1)
    image = np.arange(len(label))
    one, other = own[image, nearest // 4], crossed[image, nearest % 4]
    return np.where(label[:, None, None] == 1, one, other)


def _apart(pairs: Float64[np.ndarray, "n k 2 2"]) -> Float64[np.ndarray, "n k"]:
    return np.linalg.norm(pairs[:, :, 0] - pairs[:, :, 1], axis=-1)
