"""Noise without labels: what a network reads where its data are not at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ssmbench.options import COUNT, SIZE, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes, Tokens
from ssmbench.tasks.probes.base import ProbeConfig, ValueProbe, values
from ssmbench.tasks.sequences import Sequences


@dataclass
class NoiseConfig(ProbeConfig):
    """Sizes of the network, and how many sequences are drawn."""

    #: Channels of the input.
    channels: int = option(1, SIZE)
    #: Tokens, in place of channels; 0 for channels.
    vocabulary: int = option(0, COUNT)
    #: Numbers that are predicted.
    outputs: int = option(1, SIZE)
    #: Whether they are predicted at each step.
    per_step: bool = False
    train_sequences: int = option(64, SIZE)
    test_sequences: int = option(32, SIZE)


@tasks.register(
    "noise",
    config=NoiseConfig,
    citation="this work",
    summary="White noise or random tokens, with targets of zero: for networks without their data",
)
class Noise(ValueProbe):
    """u (B, L, channels): white noise of unit variance, or (B, L): tokens, each equally likely.

    Targets are zero. There is nothing to learn: the task gives a network that comes without its
    data (``ssmbench import``) its sizes, and inputs from which an attack starts.
    """

    config: NoiseConfig

    @property
    def sizes(self) -> TaskSizes:
        """As the options say."""
        options = self.config
        kind = Tokens(options.vocabulary) if options.vocabulary else Channels(options.channels)
        return TaskSizes(kind, options.outputs, options.length, options.per_step)

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Noise, and zeros for targets."""
        options = self.config
        steps = (length,) if options.per_step else ()
        target = np.zeros((number, *steps, options.outputs))
        if not options.vocabulary:
            return values(random.standard_normal((number, length, options.channels)), target)
        drawn = random.integers(0, options.vocabulary, (number, length))
        return Sequences(torch.from_numpy(drawn).long(), torch.from_numpy(target).float())
