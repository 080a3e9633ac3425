"""Where the contours of images lie: random smooth paths that keep their distance.

The contours of all images of a chunk grow together, a dash a round, each image at a state of its
own. A contour that finds no way on begins anew elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ssmbench.tasks.lra.strokes import Pen, distance, patch

#: Changes of direction from dash to dash, at most, in radians: of the candidates in a round, the
#: first that fits is taken, and sharper turns are for paths that would end otherwise.
_TURNS = np.repeat([0.5, 1.0, 1.2], 4)
#: Rounds without success after which a contour begins anew.
_PATIENCE = 4
#: Times that a contour begins anew until its image does, or does without if it is a distractor.
_RESTARTS = 8
#: In maps of surroundings, beside the number of the dash that a cell is near: near another contour
#: or outside of the image; near nothing.
_BLOCKED, _FREE = -128, 127
#: The most dashes that these maps can tell apart.
MOST_DASHES = 100


@dataclass(frozen=True)
class Plan:
    """What is placed: two long contours, then short ones, on a grid of ``size`` cells a side.

    ``clearance``: cells of different contours are farther apart than that along one axis.
    """

    size: int
    pen: Pen
    clearance: int
    dashes: int
    distractors: int

    @property
    def lengths(self) -> Int64[np.ndarray, " contours"]:
        """Dashes of each contour."""
        short = max(1, self.dashes // 3)
        return np.array([self.dashes, self.dashes, *[short] * self.distractors])


class Placing:
    """The state of n images; ``segments`` (n, contours, dashes, [start, end], [y, x]) in cells are
    the result, NaN where there is none."""

    def __init__(self, plan: Plan, number: int, random: np.random.Generator):
        self.plan, self.random = plan, random
        self.lengths = plan.lengths
        shape = number, len(self.lengths), plan.dashes, 2, 2
        self.segments = np.full(shape, np.nan)
        pen = plan.pen
        self.radius = max(pen.marker, pen.thickness / 2)
        self.room = math.ceil(pen.core + pen.gap + 2 * self.radius) + plan.clearance + 4
        self.side = plan.size + 2 * self.room
        inside = slice(self.room, self.room + plan.size)
        self.empty = np.full((self.side, self.side), _BLOCKED, np.int8)
        self.empty[inside, inside] = _FREE
        # With the finished contours, and with the present one too.
        self.finished = np.repeat(self.empty[None], number, 0)
        self.near = self.finished.copy()
        self.contour, self.dash, self.misses, self.restarts = np.zeros((4, number), np.int64)
        self.heading = np.zeros(number)

    def run(self) -> None:
        """Rounds until every image has its contours."""
        active = np.arange(len(self.contour))
        while len(active):
            self._round(active)
            active = active[self.contour[active] < len(self.lengths)]

    def _round(self, images: Int64[np.ndarray, " m"]) -> None:
        heading, segment = self._candidates(images)
        fits = self._fits_roughly(images, segment)
        chosen = np.arange(len(images)), fits.argmax(1)
        heading, segment = heading[chosen], segment[chosen]
        y, x, lit = self._lit(images, segment)
        fits = fits.any(1) & ~(self._taken(images, y, x) & lit).any((1, 2))
        done = images[fits]
        self._note(done, y[fits], x[fits], lit[fits])
        self.segments[done, self.contour[done], self.dash[done]] = segment[fits]
        self.heading[done] = heading[fits]
        self.dash[done] += 1
        self.misses[done] = 0
        self._finish(done[self.dash[done] == self.lengths[self.contour[done]]])
        self._miss(images[~fits])

    def _candidates(
        self, images: Int64[np.ndarray, " m"]
    ) -> tuple[Float64[np.ndarray, "m c"], Float64[np.ndarray, "m c 2 2"]]:
        """Directions and segments of a next dash, or of a first one."""
        pen, draws = self.plan.pen, (len(images), len(_TURNS))
        first = (self.dash[images] == 0)[:, None]
        turn = self.random.uniform(-1, 1, draws)
        heading = np.where(first, math.pi * turn, self.heading[images][:, None] + _TURNS * turn)
        along = np.stack([np.sin(heading), np.cos(heading)], -1)
        anywhere = self.random.uniform(0, self.plan.size - 1, (*draws, 2))
        last = self.segments[images, self.contour[images], self.dash[images] - 1, 1]
        start = np.where(first[..., None], anywhere, last[:, None] + pen.gap * along)
        return heading, np.stack([start, start + pen.core * along], 2)

    def _fits_roughly(
        self, images: Int64[np.ndarray, " m"], segment: Float64[np.ndarray, "m c 2 2"]
    ) -> Bool[np.ndarray, "m c"]:
        """Whether both ends, and the end of a dash to follow, are where something may be."""
        ahead = 2 * segment[:, :, 1] - segment[:, :, 0]
        last = self.plan.size + self.room - 1
        cells = np.rint(np.concatenate([segment, ahead[:, :, None]], 2)).astype(np.int64)
        cells = np.clip(cells, -self.room, last)
        return np.asarray(~self._taken(images, cells[..., 0], cells[..., 1]).any(2))

    def _taken(
        self,
        images: Int64[np.ndarray, " m"],
        y: Int64[np.ndarray, "m ..."],
        x: Int64[np.ndarray, "m ..."],
    ) -> Bool[np.ndarray, "m ..."]:
        """Cells near another contour, near the same one but for its last dash, or outside."""
        one = images.reshape(-1, *(1 for _ in y.shape[1:]))
        return self.near.take(self._places(one, y, x)) < self.dash[one] - 1

    def _places(self, images: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of cells in the flattened maps."""
        return (images * self.side + y + self.room) * self.side + x + self.room

    def _lit(
        self, images: Int64[np.ndarray, " m"], segment: Float64[np.ndarray, "m 2 2"]
    ) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "m p p"]]:
        """The cells of a dash, and of the disc that may mark it at the end of a long contour."""
        y, x = patch(segment, self.radius)
        lit = distance(segment, y, x) < self.plan.pen.thickness / 2 + 0.5
        for dash, end in ((0, 0), (self.plan.dashes - 1, 1)):
            outer = (self.contour[images] < 2) & (self.dash[images] == dash)
            tip = np.repeat(segment[outer, end][:, None], 2, 1)
            lit[outer] |= distance(tip, y[outer], x[outer]) < self.plan.pen.marker + 0.5
        return y, x, lit

    def _note(
        self, images: np.ndarray, y: np.ndarray, x: np.ndarray, lit: Bool[np.ndarray, "m p p"]
    ) -> None:
        """Mark what is within the clearance of new cells as their contour's surroundings."""
        wide = self.plan.clearance
        near = np.pad(lit, ((0, 0), (wide, wide), (wide, wide)))
        for axis in (1, 2):
            near = _widened(near, wide, axis)
        steps = np.arange(near.shape[1]) - wide
        rows, columns = y[:, :1, :] + steps[:, None], x[:, :, :1] + steps
        places = self._places(images[:, None, None], rows, columns)
        dash = np.where(near, self.dash[images][:, None, None], _FREE).astype(np.int8)
        self.near.put(places, np.minimum(self.near.take(places), dash))

    def _finish(self, images: Int64[np.ndarray, " m"]) -> None:
        self.finished[images] = np.where(self.near[images] < _FREE, _BLOCKED, _FREE)
        self.contour[images] += 1
        self.restarts[images] = 0
        self._forget(images)

    def _forget(self, images: Int64[np.ndarray, " m"]) -> None:
        self.near[images] = self.finished[images]
        self.dash[images] = self.misses[images] = 0

    def _miss(self, images: Int64[np.ndarray, " m"]) -> None:
        self.misses[images] += 1
        again = images[self.misses[images] >= _PATIENCE]
        self.segments[again, self.contour[again]] = np.nan
        self.restarts[again] += 1
        given_up = again[self.restarts[again] >= _RESTARTS]
        self.restarts[given_up] = 0
        long = self.contour[given_up] < 2
        self.contour[given_up[~long]] += 1
        anew = given_up[long]
        self.contour[anew] = 0
        self.segments[anew] = np.nan
        self.finished[anew] = self.empty
        self._forget(again)


def _widened(lit: Bool[np.ndarray, "m p q"], wide: int, axis: int) -> Bool[np.ndarray, "m p q"]:
    """Also the cells within ``wide`` of lit ones along an axis; there is room for them."""
    found = lit.copy()
    for step in range(1, wide + 1):
        ahead, behind = slice(step, None), slice(None, -step)
        one, other = ((slice(None),) * axis + (part,) for part in (ahead, behind))
        found[one] |= lit[other]
        found[other] |= lit[one]
    return found
