"""Texts as sequences of characters: a vocabulary from the training texts, and tokens from it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ssmbench.options import Allowed
from ssmbench.tasks.lra.tokens import END, SPECIAL, UNKNOWN

#: Sizes of a vocabulary whose tokens fit in a byte.
VOCABULARY_SIZE = Allowed(f"from {SPECIAL + 1} to 256", lambda value: SPECIAL < value <= 256)


class Text(NamedTuple):
    """One text, or one of a pair, and its class."""

    text: str
    label: int


class Alphabet:
    """Tokens of characters: the most frequent ones from 3 on, all others are 1, unknown.

    A text longer than ``length`` - 1 characters is cut off there; the end, token 2, follows it.
    """

    def __init__(self, characters: Iterable[str], length: int):
        self.kept = length - 1
        self.table: UInt8[np.ndarray, " codes"] = np.full(sys.maxunicode + 1, UNKNOWN, np.uint8)
        for token, character in enumerate(characters, SPECIAL):
            self.table[ord(character)] = token

    @classmethod
    def of(
        cls, texts: Iterable[Text], *, length: int, vocabulary: int, min_frequency: int
    ) -> Alphabet:
        """Characters that occur ``min_frequency`` times or more in the texts, cut off; of more
        than fit into the vocabulary, the most frequent."""
        counts: Counter[str] = Counter()
        for text, _ in texts:
            counts.update(text[: length - 1])
        ordered = sorted(counts, key=lambda one: (-counts[one], one))
        frequent = [one for one in ordered if counts[one] >= min_frequency]
        return cls(frequent[: vocabulary - SPECIAL], length)

    def tokens(self, text: str) -> bytes:
        """The tokens of a text, its end included."""
        codes = np.frombuffer(text[: self.kept].encode("utf-32-le", "surrogatepass"), "<u4")
        return self.table[codes].tobytes() + bytes([END])

    def encoded(self, texts: Iterable[Text]) -> Iterator[tuple[bytes, int]]:
        """Tokens and class of each text."""
        return ((self.tokens(text), label) for text, label in texts)
