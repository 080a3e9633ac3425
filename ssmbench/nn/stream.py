"""The state of a network between two chunks of a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import require


@runtime_checkable
class BlockState(Protocol):
    """What a block remembers between two chunks: the state (B, H, N) of its SSM layer, or that and
    more."""

    def detach(self) -> BlockState:
        """The same without its graph."""
        ...


@dataclass(frozen=True)
class StreamState:
    """The state of a network after ``steps`` steps.

    ``layers``: the state of each block, for a ``residual`` one the state (B, H, N) of its SSM layer
    in the layer's own coordinates; None for the initial state. ``total`` (B, d_model): the sum of
    the features so far, for a pooled network.
    """

    layers: tuple[BlockState | None, ...]
    total: Float[Tensor, "B d"] | None = None
    steps: int = 0

    def detach(self) -> StreamState:
        """The state without its graph, for truncated backpropagation through time."""
        return replace(
            self,
            layers=tuple(None if x is None else x.detach() for x in self.layers),
            total=None if self.total is None else self.total.detach(),
        )


def check_stream(state: StreamState, layers: int) -> None:
    """Raise a UsageError unless ``state`` has an entry for each of ``layers`` SSM layers."""
    found = len(state.layers)
    require(
        found == layers,
        f"a stream's state needs one entry per layer: {layers}, got {found}",
    )
