"""Recall: which token followed another one, earlier in the sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmbench.errors import require
from ssmbench.options import SIZE, option
from ssmbench.registry import tasks
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.tasks.batch import UNSCORED
from ssmbench.tasks.probes.base import ClassProbe, ProbeConfig, tokens
from ssmbench.tasks.sequences import Sequences


@dataclass
class InductionConfig(ProbeConfig):
    """A sequence of random tokens, one of which follows the special one."""

    #: Tokens beside the special one.
    alphabet: int = option(15, SIZE)


@tasks.register(
    "induction",
    config=InductionConfig,
    citation="C. Olsson et al., In-context Learning and Induction Heads, arXiv 2209.11895, 2022; "
    "as a task: A. Gu, T. Dao, Mamba, arXiv 2312.00752, section 4.1.2",
    summary="Which token followed the special one, asked at the end; accuracy",
)
class Induction(ClassProbe):
    """Tokens (B, L): the special one is at a random step and at the last; the target of that
    (B, 1) is the token that followed it before."""

    config: InductionConfig

    @property
    def sizes(self) -> TaskSizes:
        """The tokens and the special one; a class for each token."""
        alphabet = self.config.alphabet
        return TaskSizes(Tokens(alphabet + 1), alphabet, self.config.length, per_step=True)

    def shortest(self) -> int:
        """The special token, what follows it, and the question."""
        return 3

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Random tokens with the special one twice."""
        special = self.config.alphabet
        u = random.integers(0, special, (number, length))
        place, rows = random.integers(0, length - 2, number), np.arange(number)
        u[rows, place] = u[:, -1] = special
        return tokens(u, u[rows, place + 1][:, None])


@dataclass
class AssociativeRecallConfig(ProbeConfig):
    """Pairs of a key and a value, then questions: each key again, among blanks."""

    #: Pairs of a key and a value in a sequence.
    pairs: int = option(8, SIZE)
    #: Different keys, and as many different values.
    alphabet: int = option(64, SIZE)


@tasks.register(
    "associative_recall",
    config=AssociativeRecallConfig,
    citation="S. Arora et al., Zoology: Measuring and Improving Recall in Efficient Language "
    "Models, arXiv 2312.04927, 2023 (MQAR)",
    summary="The value of each of several keys, asked in any order (MQAR); accuracy",
)
class AssociativeRecall(ClassProbe):
    """Tokens (B, L): key, value, key, value, ...; then every key once more, in random order and at
    random steps among blanks. The target of such a step is the key's value; others do not count.

    Questions are spread evenly over the rest of the sequence; Zoology draws their steps from a
    power law that favours near ones.
    """

    config: AssociativeRecallConfig

    @property
    def sizes(self) -> TaskSizes:
        """Keys, values and a blank; a class for each value."""
        alphabet = self.config.alphabet
        return TaskSizes(Tokens(2 * alphabet + 1), alphabet, self.config.length, per_step=True)

    def shortest(self) -> int:
        """Each key twice, and its value."""
        pairs, alphabet = self.config.pairs, self.config.alphabet
        require(pairs <= alphabet, f"pairs: {pairs} different keys of an alphabet of {alphabet}")
        return 3 * pairs

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Pairs, then questions; 0 is the blank, keys and values are numbered after it."""
        pairs, alphabet = self.config.pairs, self.config.alphabet
        keys = random.permuted(np.tile(np.arange(alphabet), (number, 1)), axis=1)[:, :pairs]
        answers = random.integers(0, alphabet, (number, pairs))
        u = np.zeros((number, length), dtype=np.int64)
        u[:, 0 : 2 * pairs : 2], u[:, 1 : 2 * pairs : 2] = 1 + keys, 1 + alphabet + answers
        steps = np.tile(np.arange(2 * pairs, length), (number, 1))
        places = random.permuted(steps, axis=1)[:, :pairs]
        target = np.full((number, length), UNSCORED)
        np.put_along_axis(u, places, 1 + keys, axis=1)
        np.put_along_axis(target, places, answers, axis=1)
        return tokens(u, target)
