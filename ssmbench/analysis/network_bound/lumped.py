"""A network as linear time-invariant maps and slope-bounded remainders: arrays and systems only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from ssmbench.analysis.network_bound.enclosed import OUTWARD, Enclosed
from ssmbench.analysis.network_bound.shifted import Pointwise, ShiftedMap
from ssmbench.systems import DiscreteLTI


@dataclass(frozen=True, eq=False)
class PairedSystem:
    """Two systems G and H side by side, for the change that H in place of G makes: from
    (w, e, s) to (G w, H e + (G - H) w / scale + c s, s).

    e is the change of the signal w, in units of ``scale``, and s one channel that is an impulse at
    step 0, so that c, ``known`` (L, outputs of G), is a signal of its own, in the same units.
    ``known_error``: a bound on the sum over the steps of the norm of what is true of c minus that.
    ``apart``: a bound on the sum over the steps of the norm of the impulse response of G - H.
    """

    full: DiscreteLTI
    reduced: DiscreteLTI
    known: np.ndarray
    known_error: float
    apart: float
    scale: float


class Readout(Enum):
    """What is read from the features of a sequence: every step, or a sum over its steps."""

    steps = "steps"
    mean = "mean"
    unit = "unit"
    last = "last"

    def weights(self, length: int) -> np.ndarray:
        """The weight (length,) of each step in the sum; not for ``steps``."""
        if self is Readout.last:
            return (np.arange(length) == length - 1).astype(float)
        return np.full(length, 1 / (length if self is Readout.mean else math.sqrt(length)))


@dataclass(frozen=True)
class LumpedBlock:
    """``w = G before x``, ``y = read w``, ``x' = skip x + through w + out v`` with remainders v of
    y.

    G is the ``system``, a linear map, or the identity if that is None. A difference dv of
    remainders satisfies ``|dv_i| <= radius_i |dy_i|`` at every step; for channels with the same
    number in
    ``groups`` it holds only for their l2 norms together, over all steps, and their radii are equal.
    n is the number of remainders, which may be 0. ``pointwise``: as in
    :class:`~.shifted.ShiftedMap`.

    Shapes: before (inputs of G, d), skip (d', d), through (d', outputs of G), read (n, outputs of
    G), out (d', n), radius (n,), groups (n,).
    """

    system: DiscreteLTI | PairedSystem | None
    before: Enclosed
    skip: Enclosed
    through: Enclosed
    read: Enclosed
    out: Enclosed
    radius: np.ndarray
    groups: np.ndarray
    pointwise: Pointwise | None = None

    @property
    def remainders(self) -> int:
        """The number n of remainders."""
        return len(self.radius)

    @property
    def own_system(self) -> DiscreteLTI | None:
        """The system of a block that is not one of a pair."""
        assert not isinstance(self.system, PairedSystem), "a pair of a pair"
        return self.system


def static_block(f: ShiftedMap) -> LumpedBlock:
    """x' = f(x)."""
    rows, columns = f.linear.value.shape
    return LumpedBlock(
        system=None,
        before=Enclosed.identity(columns),
        skip=f.linear,
        through=Enclosed.zeros(rows, columns),
        read=f.read,
        out=f.out,
        radius=f.radius,
        groups=f.groups,
        pointwise=f.pointwise,
    )


def lumped_blocks(
    before: ShiftedMap,
    system: DiscreteLTI | None,
    after: ShiftedMap,
    kept: float,
    behind: ShiftedMap,
) -> list[LumpedBlock]:
    """x' = behind(kept x + after(G before(x))), G the system or the identity; all maps have as many
    outputs as inputs. A map ``before`` with remainders is a block of its own, from x to (x,
    before(x)).
    """
    width = before.linear.value.shape[1]
    identity, zeros = Enclosed.identity(width), Enclosed.zeros(width, width)
    blocks, own, skip = [], before.linear, identity
    if before.remainders:
        blocks = [static_block(_with_input(before))]
        own, skip = beside(zeros, identity), beside(identity, zeros)
    core = LumpedBlock(
        system=system,
        before=own,
        skip=(behind.linear @ skip).scaled(kept),
        through=behind.linear @ after.linear,
        read=after.read,
        out=behind.linear @ after.out,
        radius=after.radius,
        groups=after.groups,
        pointwise=after.pointwise,
    )
    if not behind.remainders:
        return [*blocks, core]
    bare = replace(core, skip=skip.scaled(kept), through=after.linear, out=after.out)
    return [*blocks, bare, static_block(behind)]


def _with_input(f: ShiftedMap) -> ShiftedMap:
    """x to (x, f(x))."""
    identity, none = (
        np.eye(f.linear.value.shape[1]),
        np.zeros((f.linear.value.shape[1], f.remainders)),
    )
    return replace(
        f,
        linear=Enclosed(np.concatenate([identity, f.linear.value]), f.linear.error),
        out=Enclosed(np.concatenate([none, f.out.value]), f.out.error),
    )


def beside(left: Enclosed, right: Enclosed) -> Enclosed:
    """(left, right), with the columns of both."""
    value = np.concatenate([left.value, right.value], 1)
    return Enclosed(value, (left.error + right.error) * OUTWARD)


@dataclass(frozen=True)
class LumpedNetwork:
    """From a signal u of ``encoder.value.shape[1]`` channels to the prediction, for differences.

    ``lengths``: the numbers of steps of the sequences for which a bound is wanted; the largest is
    the horizon. ``last_norms`` (F,): where given, the last channel of u counts in the norm of u at
    each of the F frequencies with this factor.
    """

    encoder: Enclosed
    blocks: Sequence[LumpedBlock]
    decoder: Enclosed
    readout: Readout
    lengths: tuple[int, ...]
    last_norms: np.ndarray | None = None

    @property
    def horizon(self) -> int:
        """The longest sequence's number L of steps."""
        return max(self.lengths)

    @property
    def inputs(self) -> int:
        """The number of channels of u."""
        return self.encoder.value.shape[1]

    @property
    def outputs(self) -> int:
        """The number of outputs of one prediction."""
        return self.decoder.value.shape[0]

    @property
    def remainders(self) -> int:
        """The number of remainders of all blocks."""
        return sum(block.remainders for block in self.blocks)

    @property
    def columns(self) -> int:
        """The number of channels of q = (u, all remainders), from which all is linear."""
        return self.inputs + self.remainders

    @property
    def core(self) -> int:
        """The number of those that later remainders may read: all but the remainders of the last
        block that has any."""
        counts = [block.remainders for block in self.blocks if block.remainders]
        return self.inputs + sum(counts[:-1])
