"""Probes on real-valued signals: adding two marked numbers, and delaying a signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmbench.errors import require
from ssmbench.options import POSITIVE_COUNT, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.probes.base import ProbeConfig, ValueProbe, values
from ssmbench.tasks.sequences import Sequences


@tasks.register(
    "adding",
    config=ProbeConfig,
    citation="S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), "
    "1997; in this form: Arjovsky, Shah, Bengio 2016, arXiv 1511.06464, section 5.2",
    summary="Add the two marked of L random numbers; RMSE, 0.41 for the mean of the sums",
)
class Adding(ValueProbe):
    """u (B, L, 2): numbers uniform in [0, 1], and 1 at one step of each half, 0 elsewhere.

    The target (B, 1) is the sum of the two numbers at the marked steps, whose variance is 1/6.
    """

    config: ProbeConfig
    undroppable_reason = "without a marked number the sum is not determined"

    @property
    def sizes(self) -> TaskSizes:
        """The numbers and the marks; one sum."""
        return TaskSizes(Channels(2), outputs=1, length=self.config.length)

    def shortest(self) -> int:
        """A step in each half."""
        return 2

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Numbers with a mark in each half."""
        u = np.stack([random.uniform(size=(number, length)), np.zeros((number, length))], axis=-1)
        rows, half = np.arange(number), length // 2
        first, second = random.integers(0, half, number), random.integers(half, length, number)
        u[rows, first, 1] = u[rows, second, 1] = 1
        return values(u, (u[rows, first, 0] + u[rows, second, 0])[:, None])


@dataclass
class DelayConfig(ProbeConfig):
    """The signal is asked for ``lag`` steps later."""

    #: Steps from the input to its output.
    lag: int = option(100, POSITIVE_COUNT)


@tasks.register(
    "delay",
    config=DelayConfig,
    citation="A. Voelker, I. Kajic, C. Eliasmith, Legendre Memory Units, NeurIPS 2019; "
    "A. Gu et al., How to Train Your HiPPO, ICLR 2023, arXiv 2206.12037, section 5",
    summary="White noise, a given number of steps later; RMSE, 1 for the mean",
)
class Delay(ValueProbe):
    """u (B, L, 1): white noise of unit variance; target (B, L - lag, 1): u, ``lag`` steps before.

    A pure delay of k steps needs k states in a linear layer: with fewer it is approximated.
    """

    config: DelayConfig

    @property
    def sizes(self) -> TaskSizes:
        """One channel in, one out at every step."""
        return TaskSizes(Channels(1), outputs=1, length=self.config.length, per_step=True)

    def shortest(self) -> int:
        """One step more than the lag."""
        require(self.config.lag >= 1, "lag must be at least 1")
        return self.config.lag + 1

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """White noise; the steps before the lag are not scored."""
        u = random.standard_normal((number, length, 1))
        return values(u, u[:, : length - self.config.lag])
