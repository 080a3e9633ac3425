"""The state of a network between two chunks of a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.errors import require


@dataclass(frozen=True)
class StreamState:
    """The state of a network after ``steps`` steps.

    ``layers``: the state (B, H, N) of each SSM layer, in its own coordinates; None for its initial
    state. ``total`` (B, d_model): the sum of the features so far, for a pooled network.
    """

    layers: tuple[Inexact[Tensor, ...] | None, ...]
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
