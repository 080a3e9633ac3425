"""What a network must know of a task before any data is read: its input, outputs and length."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ssmbench.errors import require


@dataclass(frozen=True)
class Channels:
    """Sequences (B, L, count) of real numbers, ``count`` channels at each step."""

    count: int

    def __post_init__(self) -> None:
        require(self.count >= 1, f"Channels: at least one channel, got {self.count}")

    def __str__(self) -> str:
        return "channels"


@dataclass(frozen=True)
class Tokens:
    """Sequences (B, L) of int64 tokens in 0..vocabulary - 1; ``padding`` fills shorter ones.

    The padding's token counts as one of the vocabulary. Networks do not read it: they know the
    lengths.
    """

    vocabulary: int
    padding: int = 0

    def __post_init__(self) -> None:
        inside = 0 <= self.padding < self.vocabulary
        require(inside, f"Tokens: the padding {self.padding} is none of {self.vocabulary} tokens")

    def __str__(self) -> str:
        return "tokens"


@dataclass(frozen=True)
class Pair:
    """Two sequences of one kind: (B, 2, L, count) of channels, or (B, 2, L) of tokens."""

    of: Channels | Tokens

    def __str__(self) -> str:
        return f"pairs of sequences of {self.of}"


SequenceSpec = Channels | Tokens
InputSpec = Channels | Tokens | Pair


class Reading(Enum):
    """What a prediction is made from."""

    steps = "each step"
    sequence = "a whole sequence"
    pair = "a pair of sequences"


@dataclass(frozen=True)
class TaskSizes:
    """What a network must know of a task.

    ``input``: what u holds. ``outputs``: classes, or channels of y. ``length``: steps L of a
    training sequence, of the longest one where they differ. ``per_step``: the prediction is
    (B, L, outputs); (B, outputs) otherwise.

    Raises:
        UsageError: sizes below one, or predictions per step of a pair.
    """

    input: InputSpec
    outputs: int
    length: int
    per_step: bool = False

    def __post_init__(self) -> None:
        least = min(self.outputs, self.length)
        require(least >= 1, f"TaskSizes: outputs and length must be at least 1, got {self}")
        alone = not (self.per_step and isinstance(self.input, Pair))
        require(alone, "TaskSizes: the prediction for a pair of sequences cannot be per step")

    @property
    def sequence(self) -> SequenceSpec:
        """What one sequence holds: of a pair, each of its two."""
        return self.input.of if isinstance(self.input, Pair) else self.input

    @property
    def reading(self) -> Reading:
        """What a prediction is made from."""
        if isinstance(self.input, Pair):
            return Reading.pair
        return Reading.steps if self.per_step else Reading.sequence
