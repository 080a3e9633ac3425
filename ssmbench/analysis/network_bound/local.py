"""Tighter slopes for inputs of bounded norm: what a nonlinearity reads then stays in an interval.

For inputs of norm at most R what a remainder reads stays within rho R of what it reads for zero
input, at every step, rho a proved gain from l2 to the largest absolute value over the steps. From
the first block to the last, the slopes in these intervals replace those for all numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssmbench.analysis.network_bound.bound import network_bound
from ssmbench.analysis.network_bound.enclosed import OUTWARD, Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedBlock, LumpedNetwork, Readout

#: The least radius of a remainder: smaller ones gain nothing.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Centre:
    """What the remainders of a block read for zero input, in several networks: the least and the
    largest value of each (networks, n) over the steps; and the largest difference (n,) between two
    of them at one step. All are widened by their errors."""

    low: np.ndarray
    high: np.ndarray
    apart: np.ndarray


def localised(
    networks: Sequence[LumpedNetwork], centres: Sequence[Centre], norm: float, work: float
) -> list[LumpedNetwork]:
    """Networks of equal nonlinearities with the slopes that all of them have for inputs of at most
    this norm.

    ``centres``: those of the blocks with a ``pointwise``, first to last. ``work``: multiplications
    that each bound may take; where one is not proved, slopes stay as they are.
    """
    left = iter(centres)
    found: list[list[LumpedBlock]] = [[] for _ in networks]
    for k, block in enumerate(networks[0].blocks):
        present = [network.blocks[k] for network in networks]
        if block.pointwise is not None:
            centre = next(left)
            reaches = [
                _largest_values(replace(network, blocks=done), own, work) * norm * OUTWARD
                for network, done, own in zip(networks, found, present, strict=True)
            ]
            low, high = centre.low - np.stack(reaches), centre.high + np.stack(reaches)
            present = [_within(own, low.min(0), high.max(0)) for own in present]
        for done, own in zip(found, present, strict=True):
            done.append(own)
    return [replace(n, blocks=b) for n, b in zip(networks, found, strict=True)]


def _largest_values(before: LumpedNetwork, block: LumpedBlock, work: float) -> np.ndarray:
    """Gains (n,) from the input's norm to the largest absolute value of what each remainder reads.

    By causality and since the network does not vary in time, that at the last step is the largest.
    """
    reading = replace(
        block,
        skip=Enclosed.zeros(block.remainders, block.skip.value.shape[1]),
        through=block.read,
        read=Enclosed.zeros(0, block.read.value.shape[1]),
        out=Enclosed.zeros(block.remainders, 0),
        radius=np.zeros(0),
        groups=np.zeros(0, int),
        pointwise=None,
    )
    network = LumpedNetwork(
        encoder=before.encoder,
        blocks=[*before.blocks, reading],
        decoder=Enclosed.identity(block.remainders),
        readout=Readout.last,
        lengths=(before.horizon,),
    )
    found = network_bound(network, work)
    if not math.isfinite(found.gain):
        return np.full(block.remainders, math.inf)
    return np.sqrt(np.diagonal(found.ellipsoids[0])) * OUTWARD


def _within(block: LumpedBlock, low: np.ndarray, high: np.ndarray) -> LumpedBlock:
    """The block for remainders that read numbers in these intervals: the middle slope of each is
    moved into what is linear."""
    assert block.pointwise is not None
    finite = np.isfinite(low) & np.isfinite(high)
    least, largest = block.pointwise.slopes(
        np.where(finite, low, -1e9), np.where(finite, high, 1e9)
    )
    middle = least / 2 + largest / 2
    radius = np.nextafter(np.maximum(largest - middle, middle - least), np.inf)
    moved = middle - block.pointwise.middle
    through = block.through + (block.out @ Enclosed(np.diag(moved))) @ block.read
    radius = np.minimum(np.maximum(radius, _LEAST) * OUTWARD, 1e9)
    return replace(
        block, through=through, radius=radius, pointwise=replace(block.pointwise, middle=math.nan)
    )
