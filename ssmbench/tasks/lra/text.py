"""Text of the Long Range Arena: whether a film review is positive, read character by character."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import require
from ssmbench.options import FOLDER, POSITIVE_COUNT, SEED, Allowed, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.digest import file_digest, listing_digest
from ssmbench.tasks.lra.characters import VOCABULARY_SIZE, Alphabet
from ssmbench.tasks.lra.published_scores import arena_scores
from ssmbench.tasks.lra.reviews import CLASSES, PARTS, read_reviews
from ssmbench.tasks.lra.tokens import PADDING, TokenSequences, from_arrays, to_arrays
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.published_scores import as_published
from ssmbench.tasks.sequences import PaddedSequences, SequenceData, Splits, Subset

_NAMES = ("aclImdb/", "aclImdb_v1.tar.gz", "aclImdb.tar.gz", "aclImdb.tar.xz")
PLACES = tuple(f"{folder}{name}" for folder in ("imdb/", "") for name in _NAMES)
_LENGTH = Allowed("from 2 to 2^20", lambda value: 2 <= value <= 2**20)


class Validation(Enum):
    """What models are selected on: reviews ``drawn`` from the training part, which are not trained
    on, or, as in the S4 repository, the ``test`` part itself."""

    drawn = "drawn"
    test = "test"


@dataclass
class TextConfig:
    """Where the reviews are, and how they are cut and split.

    ``data_dir`` (else SSMBENCH_DATA): a folder with the tree ``aclImdb`` or its archive.
    ``max_length``: tokens of a sequence at most, the end included; longer reviews are cut off.
    ``vocabulary``: how many tokens there are, padding, unknown and end among them; the others stand
    for the most frequent characters of the 25,000 training reviews, if they occur ``min_frequency``
    times or more. At the default length there are 131 of these, and the last token is unused.

    ``validation``: with ``drawn``, ``val_reviews`` of the training reviews, drawn by
    ``split_seed``. With ``test``, the published scores can be reproduced, which are those of models
    that were selected on the test reviews: all 25,000 are then trained on, and the test score is
    not that of unseen data.

    ``test_reviews``: score as many test reviews, drawn by ``split_seed``, instead of all 25,000;
    the result's source says so. The standard error of an accuracy of 85% is 0.5% with 5,000.
    """

    data_dir: str | None = option(None, FOLDER)
    max_length: int = option(4096, _LENGTH)
    vocabulary: int = option(135, VOCABULARY_SIZE)
    min_frequency: int = option(15, POSITIVE_COUNT)
    validation: Validation = Validation.drawn
    val_reviews: int = option(2_500, POSITIVE_COUNT)
    test_reviews: int | None = option(None, POSITIVE_COUNT)
    split_seed: int = option(0, SEED)


@tasks.register(
    "text",
    config=TextConfig,
    citation="A. Maas et al., Learning Word Vectors for Sentiment Analysis, ACL 2011; Y. Tay et "
    "al., Long Range Arena, ICLR 2021, arXiv 2011.04006",
    summary="Whether a film review is positive, as up to 4,096 characters; needs the data folder",
)
class ReviewText(Classification):
    """u (B, L) int64 tokens, target (B,) int64: 1 where the review is positive.

    Tokens: padding 0, unknown character 1, end 2, then characters by their frequency.
    """

    config: TextConfig
    fixed_length_reason = ""

    published = PublishedData(
        places=(PLACES,),
        size=85_000_000,
        licence="none stated",
        page="https://ai.stanford.edu/~amaas/data/sentiment/",
    )

    @property
    def sizes(self) -> TaskSizes:
        """``max_length`` steps, the end included; two classes."""
        tokens = Tokens(self.config.vocabulary, PADDING)
        return TaskSizes(tokens, len(CLASSES), self.config.max_length)

    @property
    def source(self) -> str:
        """Where the data come from, and how many test reviews are scored if not all are."""
        drawn = self.config.test_reviews
        return "published reviews" + (f" ({drawn} test reviews drawn)" if drawn else "")

    def data_files(self) -> tuple[Path, ...]:
        """The archive; none of a tree. Raises UsageError where there is neither."""
        place = self._place()
        return () if place.is_dir() else (place,)

    def data_facts(self) -> Mapping[str, Any]:
        """Names and sizes of a tree's files, which are too many to read for a digest."""
        place = self._place()
        return {"listing": listing_digest(place, "t*/[np]*/*.txt")} if place.is_dir() else {}

    def _place(self) -> Path:
        return require_data("text", self.config.data_dir, *PLACES)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Eighty short reviews, of which the first is too long."""
        random = np.random.default_rng(0)
        for part in PARTS:
            for kind in CLASSES:
                place = folder / "aclImdb" / part / kind
                place.mkdir(parents=True, exist_ok=True)
                for k in range(20):
                    words = "good " if kind == "pos" else "bad "
                    letters = words * (20 if k == 0 else int(random.integers(1, 9)))
                    (place / f"{k}_{k % 10}.txt").write_text(letters)
        sizes = {"max_length": 32, "vocabulary": 9, "min_frequency": 2, "val_reviews": 8}
        return {"data_dir": str(folder), **sizes}

    def load(self) -> Splits:
        """The reviews as tokens, memory-mapped from the cache.

        Raises:
            UsageError: no data, files that are not right, or more reviews for validation or test
                than there are.
        """
        config, held = self.config, self._tokens()
        train, test = held["train"].padded(), self._scored(held["test"].padded())
        if config.validation is Validation.test:
            return Splits(train, test, test)
        val, rest = self._drawn("val_reviews", len(train))
        require(len(rest) > 0, f"text: val_reviews is {len(val)} of {len(train)} reviews")
        return Splits(Subset(train, rest), Subset(train, val), test)

    def longer(self, factor: int) -> SequenceData:
        """The same test reviews, cut off after ``factor`` times as many characters; those that were
        not cut off stay as they are."""
        return self._scored(self._tokens(factor)["test"].padded())

    def _scored(self, test: PaddedSequences) -> SequenceData:
        """The test reviews that are scored."""
        if self.config.test_reviews is None:
            return test
        return Subset(test, np.sort(self._drawn("test_reviews", len(test))[0]))

    def _drawn(self, option_name: str, available: int) -> list[np.ndarray]:
        """Places of as many reviews as the option says, drawn by ``split_seed``, and the others."""
        count = getattr(self.config, option_name)
        enough = count <= available
        require(enough, f"text: {option_name} is {count} of {available} reviews")
        order = np.random.default_rng(self.config.split_seed).permutation(available)
        return np.split(order, [count])

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those of the Arena, for its lengths and its vocabulary."""
        free = ("data_dir", "validation", "val_reviews", "split_seed")
        return arena_scores("text") if as_published(self.config, free) else ()

    def _tokens(self, factor: int = 1) -> dict[str, TokenSequences]:
        """Both parts; the test alone at ``factor`` times the length, in the same alphabet."""
        config, place = self.config, self._place()
        parts, longer = (PARTS, {}) if factor == 1 else (("test",), {"factor": factor})
        rules = {"vocabulary": config.vocabulary, "min_frequency": config.min_frequency}

        def make() -> Arrays:
            texts = read_reviews(place)
            alphabet = Alphabet.of(texts["train"], length=config.max_length, **rules)
            alphabet.kept = factor * config.max_length - 1
            held = {part: alphabet.encoded(texts[part]) for part in parts}
            return to_arrays({part: TokenSequences.of_pairs(x) for part, x in held.items()})

        settings = {"length": config.max_length, **rules, "version": self.data_version, **longer}
        files = {"files": [file_digest(file) for file in self.data_files()], **self.data_facts()}
        arrays = cached_arrays("text", settings | files, make)
        return {part: from_arrays(arrays, part) for part in parts}
