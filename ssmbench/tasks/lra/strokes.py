"""Dashes and discs in images of any size: their proportions, and drawing them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

SMALLEST = 32
#: Contours are placed on a grid of at most so many cells a side, and drawn at any size.
FINEST_GRID = 64


@dataclass(frozen=True)
class Pen:
    """Lengths in pixels.

    A dash is all that lies within ``thickness / 2`` of a segment of length ``core``; from segment
    to segment it is ``gap``. ``marker``: the radius of the discs.
    """

    core: float
    gap: float
    thickness: float
    marker: float

    @classmethod
    def of(cls, size: int) -> Pen:
        """For an image of ``size`` pixels a side.

        Up to 64 pixels, strokes get thicker more slowly than images get larger.
        """
        scale = min(size, FINEST_GRID) / SMALLEST
        thickness = math.sqrt(scale)
        lengths = 1.2 * scale, 1.2 * scale + thickness, thickness, 1.9 * scale**0.8
        return cls(*(max(1.0, size / FINEST_GRID) * length for length in lengths))

    @property
    def reach(self) -> int:
        """Lit pixels of one contour are joined by steps of at most so many pixels along each axis;
        from contour to contour it is farther, which makes the label unambiguous."""
        # Of the pixels in the row next to a segment's end, the last lit one is at most one pixel
        # short of the stroke's rim.
        beyond = math.sqrt((self.thickness / 2 + 0.5) ** 2 - 0.25)
        return math.floor(self.gap - 2 * beyond + 2)


def patch(
    segment: Float64[np.ndarray, "m 2 2"], radius: float
) -> tuple[Int64[np.ndarray, "m p 1"], Int64[np.ndarray, "m 1 p"]]:
    """Rows and columns of squares of pixels, each of which holds all within ``radius`` + 1/2 of a
    segment [start, end], [y, x]; pixel centres have whole coordinates."""
    longest = float(np.abs(segment[:, 1] - segment[:, 0]).max(initial=0))
    steps = np.arange(math.ceil(longest + 2 * radius + 1) + 2)
    corner = np.floor(segment.min(1) - radius - 0.5).astype(np.int64)
    return (corner[:, :1] + steps)[:, :, None], (corner[:, 1:] + steps)[:, None]


def distance(
    segment: Float64[np.ndarray, "m 2 2"],
    y: Int64[np.ndarray, "m p 1"],
    x: Int64[np.ndarray, "m 1 p"],
) -> Float64[np.ndarray, "m p p"]:
    """From pixels to segments."""
    start, along = segment[:, 0], segment[:, 1] - segment[:, 0]
    dy, dx = y - start[:, :1, None], x - start[:, 1:, None]
    ay, ax = along[:, :1, None], along[:, 1:, None]
    share = np.clip((dy * ay + dx * ax) / np.maximum(ay**2 + ax**2, 1e-12), 0, 1)
    return np.sqrt((dy - share * ay) ** 2 + (dx - share * ax) ** 2)


def draw(
    canvas: UInt8[np.ndarray, "n h w"],
    which: Int64[np.ndarray, " m"],
    segment: Float64[np.ndarray, "m 2 2"],
    radius: float,
    room: int,
) -> None:
    """Light what is within ``radius`` of one segment in each of m different images, with soft rims.

    ``room``: pixels of the canvas around each image.
    """
    y, x = patch(segment, radius)
    light = np.clip(radius + 0.5 - distance(segment, y, x), 0, 1)
    value = (255 * light).round().astype(np.uint8)
    places = which[:, None, None], y + room, x + room
    canvas[places] = np.maximum(canvas[places], value)
