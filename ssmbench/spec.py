"""What a network must know about a task before data are read: input, outputs and length."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ssmbench.errors import require


@dataclass(frozen=True)
class Channels:
    """Real-valued sequences (B, L, count) with ``count`` channels at each step."""

    count: int

    def __post_init__(self) -> None:
        require(self.count >= 1, f"Channels: at least one channel, got {self.count}")

    def __str__(self) -> str:
        return "channels"


@dataclass(frozen=True)
class Tokens:
    """Sequences (B, L) of int64 tokens in 0..vocabulary - 1; ``padding`` fills shorter sequences.

    The padding token is part of the vocabulary. Networks do not read the padding, because they are
    given the lengths.
    """

    vocabulary: int
    padding: int = 0

    def __post_init__(self) -> None:
        inside = 0 <= self.padding < self.vocabulary
        require(inside, f"Tokens: the padding {self.padding} must be in 0..{self.vocabulary - 1}")

    def __str__(self) -> str:
        return "tokens"


@dataclass(frozen=True)
class Pair:
    """Two sequences of the same kind: channels (B, 2, L, count) or tokens (B, 2, L)."""

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
    """What a network must know about a task.

    ``input``: the kind of u. ``outputs``: the number of classes, or of channels of y. ``length``:
    the number of steps L of a training sequence (of the longest one if they differ).
    ``per_step``: whether the prediction has shape (B, L, outputs) instead of (B, outputs).
    ``image``: rows and columns where the steps are the pixels of an image, row by row; else None.

    Raises:
        UsageError: a size is below one, the prediction for a pair is per step, or the image has
            another number of pixels than there are steps.
    """

    input: InputSpec
    outputs: int
    length: int
    per_step: bool = False
    image: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        least = min(self.outputs, self.length)
        require(least >= 1, f"TaskSizes: outputs and length must be at least 1, got {self}")
        alone = not (self.per_step and isinstance(self.input, Pair))
        require(alone, "TaskSizes: the prediction for a pair of sequences cannot be per step")
        whole = self.image is None or self.image[0] * self.image[1] == self.length
        require(whole, f"TaskSizes: an image of {self.image} pixels has not {self.length} steps")

    @property
    def sequence(self) -> SequenceSpec:
        """The kind of one sequence; for a pair, that of each of its two sequences."""
        return self.input.of if isinstance(self.input, Pair) else self.input

    @property
    def reading(self) -> Reading:
        """What a prediction is made from."""
        if isinstance(self.input, Pair):
            return Reading.pair
        return Reading.steps if self.per_step else Reading.sequence
