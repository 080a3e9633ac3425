"""ListOps of the Long Range Arena: the value of a nested expression of minima, maxima, medians
and sums modulo 10, read token by token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, NOT_NEGATIVE, POSITIVE_COUNT, SEED, Allowed, option
from ssmbench.registry import tasks
from ssmbench.results import PublishedScore
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.tasks.baselines import Predictor
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.data import require_data
from ssmbench.tasks.digest import file_digest
from ssmbench.tasks.lra.listops_files import FILES, read_listops
from ssmbench.tasks.lra.listops_trees import DIGITS, VOCABULARY, Shape, expressions
from ssmbench.tasks.lra.published_scores import arena_scores
from ssmbench.tasks.lra.records import Records, places, resolved
from ssmbench.tasks.lra.tokens import PADDING, TokenSequences, from_arrays, to_arrays
from ssmbench.tasks.published import PublishedData
from ssmbench.tasks.published_scores import as_published
from ssmbench.tasks.sequences import PaddedSequences, Splits

_PLACES = {part: places(name, "listops-1000/", "listops/") for part, name in FILES.items()}
_AT_LEAST_TWO = Allowed("from 2 to 1000", lambda value: 2 <= value <= 1000)
_DEPTH = Allowed("from 1 to 30", lambda value: 1 <= value <= 30)
#: In this order, so that the test expressions do not depend on how many there are to train on.
_DRAWN = ("test", "val", "train")


@dataclass
class ListOpsConfig:
    """Where the expressions come from, and which of them.

    ``records``: ``published`` are the Arena's files in ``data_dir`` (else SSMBENCH_DATA),
    ``generated`` are drawn from the same distribution by ``generation_seed``; ``auto`` takes the
    published ones where they are found. ``train_expressions``, ``val_expressions``,
    ``test_expressions``: of published ones the first so many of each file.

    Of generated ones: ``min_length`` < length < ``max_length`` in tokens, brackets included;
    ``max_depth``: of the tree, the root being at depth 1; ``max_args``: arguments of an operator,
    of which there are at least two. Published ones must be shorter than ``max_length`` too.
    """

    records: Records = Records.auto
    data_dir: str | None = option(None, FOLDER)
    train_expressions: int = option(96_000, POSITIVE_COUNT)
    val_expressions: int = option(2_000, POSITIVE_COUNT)
    test_expressions: int = option(2_000, POSITIVE_COUNT)
    min_length: int = option(500, NOT_NEGATIVE)
    max_length: int = option(2_000, POSITIVE_COUNT)
    max_depth: int = option(10, _DEPTH)
    max_args: int = option(10, _AT_LEAST_TWO)
    generation_seed: int = option(0, SEED)

    def resolve_auto(self) -> None:
        """Decide what ``auto`` means here, so that a run's name tells which data it saw.

        Raises:
            UsageError: published records are asked for, or a folder is given, without the files.
        """
        self.records = resolved(self.records, "listops", self.data_dir, _PLACES["train"])


@tasks.register(
    "listops",
    config=ListOpsConfig,
    citation="N. Nangia and S. Bowman, ListOps, NAACL Student Research Workshop 2018, arXiv "
    "1804.06028; Y. Tay et al., Long Range Arena, ICLR 2021, arXiv 2011.04006",
    summary="Value 0..9 of a nested list expression of up to 2,000 tokens; generated or published",
)
class ListOps(Classification):
    """u (B, L) int64 tokens, target (B,) int64: the value.

    Tokens: padding 0, unknown 1 (unused), end 2, digits 3..12, operators [MIN [MAX [MED [SM 13..16,
    closing bracket 17. Parentheses are left out, and the end follows each expression, as in the S4
    repository. Medians are rounded down, sums taken modulo 10.
    """

    config: ListOpsConfig
    fixed_length_reason = ""

    published = PublishedData(
        places=tuple(_PLACES.values()),
        size=1_000_000_000,
        licence="Apache 2.0",
        page="https://github.com/google-research/long-range-arena",
        optional=True,
        note="Files of the same distribution are generated where these are absent.",
    )

    def check(self) -> None:
        """Refuse settings that no data can satisfy. Raises UsageError."""
        low, high = self.config.min_length, self.config.max_length
        require(
            low + 1 < high, f"listops: no length between min_length {low} and max_length {high}"
        )

    @property
    def sizes(self) -> TaskSizes:
        """``max_length`` steps, the end included; ten classes."""
        return TaskSizes(Tokens(VOCABULARY, PADDING), DIGITS, self.config.max_length)

    @property
    def source(self) -> str:
        """Where the data come from. Raises UsageError where they are not found."""
        published = self._records() is Records.published
        return "published TSV files" if published else "generated expressions"

    def data_files(self) -> tuple[Path, ...]:
        """The published files; none of generated expressions. Raises UsageError: one is missing."""
        return tuple(self._files().values())

    def _files(self) -> dict[str, Path]:
        if self._records() is not Records.published:
            return {}
        folder = self.config.data_dir
        return {part: require_data("listops", folder, *names) for part, names in _PLACES.items()}

    def _records(self) -> Records:
        return resolved(self.config.records, "listops", self.config.data_dir, _PLACES["train"])

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Expressions of 6 to 39 tokens."""
        sizes = {"train_expressions": 1100, "val_expressions": 40, "test_expressions": 50}
        shape = {"min_length": 5, "max_length": 40, "max_depth": 4, "max_args": 4}
        return {"records": Records.generated, **sizes, **shape}

    def load(self) -> Splits:
        """The expressions as tokens, memory-mapped from the cache.

        Raises:
            UsageError: files that are not right, or fewer expressions than asked for.
        """
        files = self._files()
        parts = self._read(files) if files else self._generated()
        train, val, test = (parts[part].padded() for part in ("train", "val", "test"))
        return Splits(train, val, test)

    def _sizes_of_parts(self) -> dict[str, int]:
        return {part: getattr(self.config, f"{part}_expressions") for part in _DRAWN}

    def longer(self, factor: int) -> PaddedSequences:
        """As many expressions as the test has, ``factor`` times as long; generated, also where the
        others are published. Trees may be deeper by one level for each doubling: at the depth of
        the training there are next to none so long.

        Raises:
            UsageError: there are too few so long.
        """
        config = self.config
        low, high = factor * config.min_length, factor * config.max_length
        deeper = math.ceil(math.log2(factor))
        shape = Shape(low, high, config.max_depth + deeper, config.max_args)
        seed, number = (config.generation_seed, len(_DRAWN) + factor), config.test_expressions
        settings = {"version": self.data_version, "seed": list(seed), "number": number}
        arrays = cached_arrays(
            "listops-longer",
            settings | vars(shape),
            lambda: to_arrays({"test": expressions(shape, number, seed, set())}),
        )
        return from_arrays(arrays, "test").padded()

    def _generated(self) -> dict[str, TokenSequences]:
        config, numbers = self.config, self._sizes_of_parts()
        shape = Shape(config.min_length, config.max_length, config.max_depth, config.max_args)

        def make() -> Arrays:
            seen: set[bytes] = set()
            seeds = {part: (config.generation_seed, k) for k, part in enumerate(_DRAWN)}
            return to_arrays(
                {part: expressions(shape, numbers[part], seeds[part], seen) for part in _DRAWN}
            )

        settings = {"version": self.data_version, "seed": config.generation_seed, **numbers}
        arrays = cached_arrays("listops-generated", settings | vars(shape), make)
        return {part: from_arrays(arrays, part) for part in _DRAWN}

    def _read(self, files: dict[str, Path]) -> dict[str, TokenSequences]:
        settings = {"version": self.data_version}
        settings |= {part: file_digest(file) for part, file in files.items()}
        arrays = cached_arrays(
            "listops-published",
            settings,
            lambda: to_arrays({part: read_listops(file) for part, file in files.items()}),
        )
        return {part: self._first_of(from_arrays(arrays, part), part, files) for part in files}

    def _first_of(self, read: TokenSequences, part: str, files: dict[str, Path]) -> TokenSequences:
        number = self._sizes_of_parts()[part]
        if len(read.target) < number:
            raise UsageError(
                f"{files[part]}: {len(read.target)} expressions; {part}_expressions is {number}"
            )
        chosen, limit = read.first(number), self.config.max_length
        longest = int(chosen.lengths.argmax())
        if chosen.lengths[longest] > limit:
            raise UsageError(
                f"{files[part]}: expression {longest + 1} has {chosen.lengths[longest] - 1} tokens;"
                f" max_length is {limit}"
            )
        return chosen

    def baselines(self) -> dict[str, Predictor]:
        """The most frequent value, alone and of the expressions with the same first operator."""
        return {**super().baselines(), "root operator alone": self._by_first_token()}

    def published_scores(self) -> tuple[PublishedScore, ...]:
        """Those of the Arena, unless lengths, depth or numbers of expressions are others."""
        free = ("records", "data_dir", "generation_seed")  # generated ones have the distribution
        return arena_scores("listops") if as_published(self.config, free) else ()

    def _by_first_token(self) -> Predictor:
        counts = torch.zeros(VOCABULARY, DIGITS)
        for batch in self.batches("train"):
            seen = batch.u[:, 0], batch.target
            counts.index_put_(seen, torch.ones(batch.size), accumulate=True)

        def predict(batch: Batch) -> Float[Tensor, "B 10"]:
            return counts[batch.u[:, 0]]

        return predict
