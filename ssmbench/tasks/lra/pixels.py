"""Images as sequences of pixels, kept as bytes and scaled a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, Integer, UInt8

from ssmbench.tasks.batch import Batch
from ssmbench.tasks.collation import tensor_of
from ssmbench.tasks.sequences import SequenceData


class PixelSequences(SequenceData):
    """Some of the images of an array, row by row: u (B, L, channels) = (pixel / 255 - mean) /
    deviation for each channel, float32; with no ``scale``, the bytes as tokens (B, L).

    ``pixels`` (N, L, channels), in memory or memory-mapped; ``rows`` (n,): which images; ``target``
    (N,); ``scale``: (mean, deviation), each of one number for each channel.
    """

    def __init__(
        self,
        pixels: UInt8[np.ndarray, "N L channels"],
        rows: Int[np.ndarray, " n"],
        target: Integer[np.ndarray, " N"],
        scale: tuple[Sequence[float], Sequence[float]] | None,
    ):
        self.pixels, self.rows, self.target = pixels, np.asarray(rows), target
        self.scale = None if scale is None else tuple(255 * torch.tensor(part) for part in scale)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Sequence[int]) -> Batch:
        """By one indexing of the array."""
        chosen = self.rows[np.asarray(indices)]
        target, pixels = tensor_of(self.target[chosen]), np.array(self.pixels[chosen])
        if self.scale is None:
            return Batch(tensor_of(pixels[..., 0]), target)
        mean, deviation = self.scale
        return Batch((torch.from_numpy(pixels) - mean) / deviation, target)
