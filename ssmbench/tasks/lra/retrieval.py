"""Retrieval of the Long Range Arena: whether one of two papers cites the other, or both cite a
third, from their texts read character by character."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import require
from ssmbench.options import FOLDER, POSITIVE_COUNT, Allowed, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import Pair, TaskSizes, Tokens
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.digest import file_digest
from ssmbench.tasks.lra.characters import VOCABULARY_SIZE, Alphabet, Text
from ssmbench.tasks.lra.documents import FILES, read_pairs
from ssmbench.tasks.lra.published_scores import arena_scores
from ssmbench.tasks.lra.records import places
from ssmbench.tasks.lra.tokens import PADDING, TokenSequences, from_arrays, to_arrays
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.published_scores import as_published
from ssmbench.tasks.sequences import PairedSequences, Splits

_PLACES = {part: places(name, "tsv_data/", "aan/") for part, name in FILES.items()}
_LENGTH = Allowed("from 2 to 2^20", lambda value: 2 <= value <= 2**20)


@dataclass
class RetrievalConfig:
    """Where the pairs are, and how their texts are cut.

    ``data_dir`` (else SSMBENCH_DATA): a folder with the Arena's three files. ``max_length``: tokens
    of a text at most, the end included; longer ones are cut off. ``vocabulary``: how many tokens
    there are, padding, unknown and end among them; the others stand for the most frequent
    characters of the training texts, if they occur ``min_frequency`` times or more.
    """

    data_dir: str | None = option(None, FOLDER)
    max_length: int = option(4000, _LENGTH)
    vocabulary: int = option(98, VOCABULARY_SIZE)
    min_frequency: int = option(1, POSITIVE_COUNT)


@tasks.register(
    "retrieval",
    config=RetrievalConfig,
    citation="D. Radev et al., The ACL Anthology Network Corpus, Language Resources and Evaluation "
    "47, 2013; Y. Tay et al., Long Range Arena, ICLR 2021, arXiv 2011.04006",
    summary="Whether two papers are related, as pairs of 4,000 characters; needs the data folder",
)
class Retrieval(Classification):
    """u (B, 2, L) int64 tokens of both texts, target (B,) int64: 1 where the papers are related.

    Tokens: padding 0, unknown character 1, end 2, then characters by their frequency. The parts are
    the published ones.
    """

    config: RetrievalConfig

    published = PublishedData(
        places=tuple(_PLACES.values()),
        size=1_300_000_000,
        licence="Apache 2.0 (the Arena); the papers: CC BY-NC-SA 3.0, later ones CC BY 4.0",
        page="https://github.com/google-research/long-range-arena",
    )

    @property
    def sizes(self) -> TaskSizes:
        """Two texts of ``max_length`` steps, the end included; two classes."""
        tokens = Tokens(self.config.vocabulary, PADDING)
        return TaskSizes(Pair(tokens), outputs=2, length=self.config.max_length)

    @property
    def source(self) -> str:
        """Where the data come from."""
        return "published TSV files"

    def data_files(self) -> tuple[Path, ...]:
        """The three files. Raises UsageError where one is missing."""
        return tuple(self._files().values())

    def _files(self) -> dict[str, Path]:
        folder = self.config.data_dir
        return {part: require_data("retrieval", folder, *names) for part, names in _PLACES.items()}

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Short texts; the first pair has one that is too long."""
        random = np.random.default_rng(0)
        for name, pairs in zip(FILES.values(), (40, 8, 8), strict=True):
            lines = []
            for k in range(pairs):
                one, other = (
                    "abcd"[int(random.integers(4))] * int(random.integers(1, 24)) for _ in range(2)
                )
                one = 40 * "a" if k == 0 else one
                lines.append(f"{int(one[0] == other[0])}\tP{k}\tQ{k}\t{one}\t{other}\n")
            (folder / name).write_text("".join(lines))
        return {"data_dir": str(folder), "max_length": 24, "vocabulary": 8}

    def load(self) -> Splits:
        """The pairs as tokens, memory-mapped from the cache.

        Raises:
            UsageError: no data, or a line that is not right.
        """
        config, files = self.config, self._files()
        rules = {"vocabulary": config.vocabulary, "min_frequency": config.min_frequency}

        def make() -> Arrays:
            alphabet = Alphabet.of(_texts(files["train"]), length=config.max_length, **rules)
            held = {part: _encoded(file, alphabet) for part, file in files.items()}
            return to_arrays(
                {f"{part}_{k}": one for part, pair in held.items() for k, one in enumerate(pair)}
            )

        settings = {part: file_digest(file) for part, file in files.items()}
        settings |= {"length": config.max_length, **rules, "version": self.data_version}
        arrays = cached_arrays("retrieval", settings, make)
        train, val, test = (_pairs(arrays, part) for part in FILES)
        return Splits(train, val, test)

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those of the Arena, for its lengths and its vocabulary."""
        return arena_scores("retrieval") if as_published(self.config, ("data_dir",)) else ()


def _texts(file: Path) -> Iterator[Text]:
    for label, *pair in read_pairs(file):
        for text in pair:
            yield Text(text, label)


def _encoded(file: Path, alphabet: Alphabet) -> list[TokenSequences]:
    """The first texts of all pairs, and the second ones."""
    held: tuple[list[tuple[bytes, int]], ...] = [], []
    for label, *pair in read_pairs(file):
        for part, text in zip(held, pair, strict=True):
            part.append((alphabet.tokens(text), label))
    require(bool(held[0]), f"{file}: no pairs")
    return [TokenSequences.of_pairs(part) for part in held]


def _pairs(arrays: Arrays, part: str) -> PairedSequences:
    first, second = (from_arrays(arrays, f"{part}_{k}") for k in (0, 1))
    return PairedSequences(first.padded(), second.padded(), first.target)
