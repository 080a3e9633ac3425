"""Signals in chunks of time, and Toeplitz blocks: what the chunked scans share."""

from __future__ import annotations

import math

import torch
from jaxtyping import Inexact
from torch import Tensor

#: Above this many entries of the p x m Markov parameters, Toeplitz blocks cost more than states.
MAX_TOEPLITZ_CHANNELS = 4


def chunk_length(length: int, largest: int = 32) -> int:
    """A power of two near sqrt(L): the loops within and between chunks are equally long."""
    return min(largest, 2 ** math.ceil(math.log2(max(length, 1)) / 2) * (1 if largest < 64 else 4))


def in_chunks(signal: Tensor, chunk: int) -> Tensor:
    """(B, L, ...) zero-padded at the end to whole chunks: (B, S, T, ...)."""
    padding = [0, 0] * (signal.ndim - 2) + [0, -signal.shape[1] % chunk]
    padded = torch.nn.functional.pad(signal, padding)
    return padded.reshape(signal.shape[0], -1, chunk, *signal.shape[2:])


def toeplitz(kernel: Inexact[Tensor, "*bank T"]) -> Inexact[Tensor, "*bank T T"]:
    """Lower-triangular Toeplitz matrices with the given first columns."""
    length = kernel.shape[-1]
    reversed_kernel = torch.nn.functional.pad(kernel.flip(-1), (0, length - 1))
    return reversed_kernel.unfold(-1, length, 1).flip(-2)


def apply_complex(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows @ matrix, as one real product, of half the work, where only matrix is complex."""
    if rows.is_complex() or not matrix.is_complex():
        return torch.bmm(rows.to(matrix.dtype), matrix)
    product = torch.bmm(rows, torch.view_as_real(matrix).flatten(2))
    return torch.view_as_complex(product.unflatten(-1, (-1, 2)))
