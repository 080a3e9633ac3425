"""Random expressions of ListOps, with the distribution of the Long Range Arena's generator.

All trees of a chunk are grown together, level by level, so that a hundred thousand expressions
take seconds: the children of a level's nodes lie in one array, in the order of their parents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64

from ssmbench.errors import UsageError
from ssmbench.tasks.lra.tokens import END, SPECIAL, TokenSequences
from ssmbench.tasks.progress import Preparation

DIGITS = 10
FIRST_DIGIT = SPECIAL
#: Tokens of the operators [MIN, [MAX, [MED, [SM in this order, then that of the closing bracket.
FIRST_OPERATOR = FIRST_DIGIT + DIGITS
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
CLOSE = FIRST_OPERATOR + len(OPERATORS)
VOCABULARY = CLOSE + 1

#: Chance that a node above the greatest depth is an operator.
OPERATOR_SHARE = 0.25
#: Trees grown together; part of what the expressions are a function of.
_CHUNK = 1 << 14
#: Chunks without one new expression after which there is no use in trying.
_PATIENCE = 8


@dataclass(frozen=True)
class Shape:
    """Which expressions are drawn.

    ``min_length`` < length < ``max_length``, the length being that of the expression in tokens,
    brackets included and the end of the sequence not. The root is at depth 1, and nodes at
    ``max_depth`` are digits. An operator has 2 to ``max_args`` arguments.
    """

    min_length: int = 500
    max_length: int = 2000
    max_depth: int = 10
    max_args: int = 10


@dataclass
class Level:
    """The nodes of one depth in all trees: their tree, and their number of arguments, 0 of digits.

    Then for the trees that are kept: length in tokens, value, and place among all tokens.
    """

    tree: Int64[np.ndarray, " nodes"]
    args: Int64[np.ndarray, " nodes"]
    length: Int64[np.ndarray, " nodes"] = field(init=False)
    value: Int64[np.ndarray, " nodes"] = field(init=False)
    place: Int64[np.ndarray, " nodes"] = field(init=False)

    @property
    def operator(self) -> Bool[np.ndarray, " nodes"]:
        return self.args > 0

    def first_children(self) -> Int64[np.ndarray, " operators"]:
        """Where the arguments of each operator begin, among the nodes one level deeper."""
        args = self.args[self.operator]
        return np.cumsum(args) - args


def expressions(
    shape: Shape, number: int, seed: tuple[int, int], seen: set[bytes]
) -> TokenSequences:
    """Different expressions with their values 0..9; END follows each.

    ``seed`` and ``shape`` determine them. None is in ``seen``, to which their digests are added.

    Raises:
        UsageError: there seem to be fewer expressions of this shape.
    """
    sequences: list[bytes] = []
    targets: list[int] = []
    barren = 0
    with Preparation("listops: expressions", number) as progress:
        for drawn in _chunks(shape, np.random.default_rng(seed)):
            before = len(sequences)
            for tokens, value in _unseen(drawn, seen, number - before):
                sequences.append(tokens)
                targets.append(value)
            progress.advance(len(sequences) - before)
            barren = 0 if len(sequences) > before else barren + 1
            if len(sequences) == number or barren == _PATIENCE:
                break
    if len(sequences) < number:
        raise UsageError(
            f"listops: {number} different expressions were asked for, but {_CHUNK * _PATIENCE} "
            f"draws gave none beside the {len(seen)} known ones ({shape}): allow more lengths, "
            "more arguments or a greater depth"
        )
    return TokenSequences.of(sequences, targets)


def _unseen(drawn: TokenSequences, seen: set[bytes], most: int) -> Iterator[tuple[bytes, int]]:
    for (first, end), value in zip(pairwise(drawn.offsets), drawn.target, strict=True):
        tokens = drawn.values[first:end].tobytes()
        digest = hashlib.blake2b(tokens, digest_size=16).digest()
        if most > 0 and digest not in seen:
            seen.add(digest)
            most -= 1
            yield tokens, int(value)


def _chunks(shape: Shape, random: np.random.Generator) -> Iterator[TokenSequences]:
    while True:
        levels, lengths = grow(shape, random, _CHUNK)
        kept = (lengths > shape.min_length) & (lengths < shape.max_length)
        yield _written([_of_trees(level, kept) for level in levels], random)


def grow(
    shape: Shape, random: np.random.Generator, trees: int
) -> tuple[list[Level], Int64[np.ndarray, " trees"]]:
    """The shapes of random trees and their lengths in tokens; a tree that has reached
    ``shape.max_length`` grows no further."""
    lengths = np.zeros(trees, np.int64)
    levels: list[Level] = []
    tree = np.arange(trees)
    for depth in range(1, shape.max_depth + 1):
        args = np.zeros(len(tree), np.int64)
        if depth < shape.max_depth:
            chosen = random.random(len(tree)) < OPERATOR_SHARE
            args[chosen] = random.integers(2, shape.max_args + 1, int(chosen.sum()))
        lengths += np.bincount(tree, weights=1 + (args > 0), minlength=trees).astype(np.int64)
        levels.append(Level(tree, args))
        tree = np.repeat(tree, np.where(lengths[tree] < shape.max_length, args, 0))
        if not len(tree):
            break
    return levels, lengths


def _of_trees(level: Level, kept: Bool[np.ndarray, " trees"]) -> Level:
    chosen = kept[level.tree]
    return Level(level.tree[chosen], level.args[chosen])


def _written(levels: list[Level], random: np.random.Generator) -> TokenSequences:
    """Random operators and digits in trees of given shapes, their tokens and values."""
    operators = [random.integers(0, len(OPERATORS), int(one.operator.sum())) for one in levels]
    below: Level | None = None
    for level, chosen in zip(reversed(levels), reversed(operators), strict=True):
        level.value = random.integers(0, DIGITS, len(level.tree))
        level.length = np.ones(len(level.tree), np.int64)
        if below is not None and len(chosen):
            first, inner = level.first_children(), level.operator
            level.length[inner] = 2 + np.add.reduceat(below.length, first)
            level.value[inner] = _values(chosen, below.value, first, level.args[inner])
        below = level
    root = levels[0]
    offsets = np.concatenate([[0], np.cumsum(root.length + 1)])
    _set_places(levels, offsets[:-1])
    return TokenSequences(_tokens(levels, operators, offsets), offsets, root.value)


def _values(
    operator: Int64[np.ndarray, " operators"],
    arguments: Int64[np.ndarray, " nodes"],
    first: Int64[np.ndarray, " operators"],
    args: Int64[np.ndarray, " operators"],
) -> Int64[np.ndarray, " operators"]:
    """What each operator gives for its arguments: minimum, maximum, the integer part of the median,
    sum modulo 10."""
    owner = np.repeat(np.arange(len(first)), args)
    ordered = np.sort(owner * DIGITS + arguments) % DIGITS
    middle = ordered[first + (args - 1) // 2] + ordered[first + args // 2]
    results = (
        ordered[first],
        ordered[first + args - 1],
        middle // 2,
        np.add.reduceat(arguments, first) % DIGITS,
    )
    return np.choose(operator, results)


def _set_places(levels: list[Level], roots: Int64[np.ndarray, " trees"]) -> None:
    levels[0].place = roots
    for level, below in pairwise(levels):
        inner = level.operator
        if not inner.any():
            below.place = np.zeros(0, np.int64)
            continue
        before = np.cumsum(below.length) - below.length
        own_first = level.place[inner] + 1 - before[level.first_children()]
        below.place = before + np.repeat(own_first, level.args[inner])


def _tokens(levels: list[Level], operators: list[np.ndarray], offsets: np.ndarray) -> np.ndarray:
    tokens = np.empty(offsets[-1], np.uint8)
    tokens[offsets[1:] - 1] = END
    for level, chosen in zip(levels, operators, strict=True):
        inner = level.operator
        tokens[level.place[~inner]] = FIRST_DIGIT + level.value[~inner]
        tokens[level.place[inner]] = FIRST_OPERATOR + chosen
        tokens[level.place[inner] + level.length[inner] - 1] = CLOSE
    return tokens
