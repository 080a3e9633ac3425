"""The base class of importers: from the arrays of a checkpoint to a network of ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.importers.weights import Weights
from ssmbench.spec import SequenceSpec, Tokens


@dataclass(frozen=True)
class Imported:
    """A network: the section ``model`` of its config, and the values of its parameters.

    ``input`` and ``outputs``: what the network reads and how many numbers it predicts, at each step
    with ``per_step``, else from a whole sequence. ``state``: by the names of
    :class:`~ssmbench.nn.model.SequenceModel`, float64. ``notes``: sentences on what is not as in
    the published network.
    """

    model: Mapping[str, Any]
    input: SequenceSpec
    outputs: int
    state: Mapping[str, Tensor]
    per_step: bool = False
    notes: tuple[str, ...] = field(default=())

    def reading_tokens(self) -> Imported:
        """The same network for tokens, where it reads them as vectors with one 1 (one-hot).

        The embedding of a token is its column of the encoder's matrix plus the bias.
        """
        state = dict(self.state)
        weight, bias = state.pop("encoder.weight"), state.pop("encoder.bias")
        state["encoder.weight"] = weight.mT + bias
        return replace(
            self,
            model={**self.model, "encoder": "embedding"},
            input=Tokens(weight.shape[1]),
            state=state,
        )


class Importer(ABC):
    """A published layout of weights; built as ``factory(config)``.

    The options of its config are what the published code has as arguments and what no array shows;
    their defaults are the published ones.
    """

    #: A regular expression that some key of every checkpoint in this layout matches, and of no
    #: other: by it an error names the layout that the file seems to have.
    mark: ClassVar[str]

    def __init__(self, config: Any):
        self.config = config

    @abstractmethod
    def read(self, weights: Weights) -> Imported:
        """The network of a checkpoint. Every array that is understood is taken from ``weights``;
        whoever calls this refuses what is left.

        Raises:
            UsageError: a key is missing, a shape does not fit, or the network is one that cannot
                be rebuilt here; one sentence.
        """

    @classmethod
    @abstractmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        """A small checkpoint in this layout, with the default options; used to check the importer,
        and to show the keys."""

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The keys of the example with their shapes."""
        return {key: str(array.shape) for key, array in cls.example().items()}


def convert(importer: Importer, weights: Weights, layout: str) -> Imported:
    """The network of a checkpoint, all of whose keys the importer understands.

    Raises:
        UsageError: as :meth:`Importer.read`, or keys are left over and ``weights.partial`` is not
            set; the message names the keys.
    """
    found = importer.read(weights)
    left = weights.left
    if left and not weights.partial:
        raise UsageError(_not_understood(weights, left, layout))
    return found


def _not_understood(weights: Weights, left: list[str], layout: str) -> str:
    shown = ", ".join(map(repr, left[:5])) + (f" and {len(left) - 5} more" if left[5:] else "")
    near = weights.nearest_taken(left[0])
    hint = f" (nearest key of the layout: {near!r})" if near else ""
    return (
        f"{weights.source}: layout {layout} does not understand {len(left)} of {weights.count} "
        f"keys: {shown}{hint}; a partial import (--partial) leaves them out"
    )
