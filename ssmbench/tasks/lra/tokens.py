"""Sequences of tokens in arrays that the cache can keep: one byte for each token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from ssmbench.tasks.cache import Arrays
from ssmbench.tasks.sequences import PaddedSequences

PADDING, UNKNOWN, END = 0, 1, 2
#: Tokens of the vocabulary that stand for no symbol: padding, unknown symbol, end of sequence.
SPECIAL = 3


@dataclass(frozen=True)
class TokenSequences:
    """n sequences, one after another in ``values``; sequence k is ``offsets[k]:offsets[k + 1]``."""

    values: UInt8[np.ndarray, " total"]
    offsets: Int64[np.ndarray, " n_plus_1"]
    target: Integer[np.ndarray, " n"]

    @classmethod
    def of(cls, sequences: Iterable[bytes], target: Iterable[int]) -> TokenSequences:
        """From the tokens of each."""
        parts = list(sequences)
        values = np.frombuffer(b"".join(parts), np.uint8)
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return cls(values, offsets, np.fromiter(target, np.int64))

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[bytes, int]]) -> TokenSequences:
        """From the tokens of each, with its target."""
        held = list(pairs)
        return cls.of((tokens for tokens, _ in held), (target for _, target in held))

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Tokens of each sequence."""
        return np.diff(self.offsets)

    def first(self, number: int) -> TokenSequences:
        """The first of the sequences, or all where there are fewer."""
        return TokenSequences(self.values, self.offsets[: number + 1], self.target[:number])

    def padded(self) -> PaddedSequences:
        """As the data of a split."""
        return PaddedSequences(self.values, self.offsets, self.target, padding=PADDING)


def to_arrays(parts: Mapping[str, TokenSequences]) -> Arrays:
    """As the cache keeps them."""
    return {f"{part}_{key}": value for part, held in parts.items() for key, value in _items(held)}


def from_arrays(arrays: Arrays, part: str) -> TokenSequences:
    """One of the parts that were given to :func:`to_arrays`; ``values`` stays memory-mapped."""
    return TokenSequences(
        arrays[f"{part}_values"],
        np.asarray(arrays[f"{part}_offsets"]),
        np.asarray(arrays[f"{part}_target"]),
    )


def _items(held: TokenSequences) -> list[tuple[str, Any]]:
    return [("values", held.values), ("offsets", held.offsets), ("target", held.target)]
