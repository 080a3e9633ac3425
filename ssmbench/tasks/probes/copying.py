"""Copying: symbols are read, and written in the same order when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmbench.options import SIZE, option
from ssmbench.registry import tasks
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.tasks.probes.base import ClassProbe, ProbeConfig, tokens
from ssmbench.tasks.sequences import Sequences

#: Tokens beside the symbols: of a step without one, and of a step that asks for one.
BLANK, ASK = 0, 1
SPECIAL = 2


@dataclass
class CopyingConfig(ProbeConfig):
    """A sequence has ``symbols`` of an ``alphabet``; its last ``symbols`` steps ask for them."""

    #: Symbols to be copied.
    symbols: int = option(10, SIZE)
    #: Different symbols.
    alphabet: int = option(8, SIZE)


class CopyingTask(ClassProbe):
    """Tokens (B, L); the targets of the last ``symbols`` steps are the symbols, in order."""

    config: CopyingConfig

    @property
    def sizes(self) -> TaskSizes:
        """A token for each symbol, blank and question; a class for each symbol."""
        alphabet = self.config.alphabet
        vocabulary = Tokens(alphabet + SPECIAL)
        return TaskSizes(vocabulary, alphabet, self.config.length, per_step=True)

    def shortest(self) -> int:
        """Twice the symbols."""
        return 2 * self.config.symbols

    def places(
        self, random: np.random.Generator, number: int, length: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """The steps (number, symbols) at which the symbols are read, in rising order."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Symbols among blanks, then a question for each."""
        count = self.config.symbols
        symbols = random.integers(0, self.config.alphabet, (number, count))
        u = np.full((number, length), BLANK)
        u[:, length - count :] = ASK
        np.put_along_axis(u, self.places(random, number, length), symbols + SPECIAL, axis=1)
        return tokens(u, symbols)


@tasks.register(
    "copying",
    config=CopyingConfig,
    citation="S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), "
    "1997; in this form: Arjovsky, Shah, Bengio 2016, arXiv 1511.06464, section 5.1",
    summary="Copy the first 10 symbols of a sequence to its end; accuracy of the symbols",
)
class Copying(CopyingTask):
    """The symbols are the first steps, so that the lag is ``length`` less twice ``symbols``.

    Linear time-invariant layers can do it: the time that passes is the same for all symbols.
    """

    def places(self, random: np.random.Generator, number: int, length: int) -> np.ndarray:
        return np.tile(np.arange(self.config.symbols), (number, 1))


@tasks.register(
    "selective_copying",
    config=CopyingConfig,
    citation="L. Jing et al., Gated Orthogonal Recurrent Units, Neural Computation 31(4), 2019; "
    "A. Gu, T. Dao, Mamba, arXiv 2312.00752, section 4.1.1",
    summary="Copy symbols scattered over a sequence to its end; accuracy of the symbols",
)
class SelectiveCopying(CopyingTask):
    """The symbols are at random steps, so that the lags differ.

    A linear time-invariant layer alone cannot tell blanks from symbols when it decides what to
    keep; layers whose dynamics depend on the input can.
    """

    def places(self, random: np.random.Generator, number: int, length: int) -> np.ndarray:
        count = self.config.symbols
        steps = np.tile(np.arange(length - count), (number, 1))
        return np.sort(random.permuted(steps, axis=1)[:, :count], axis=1)
