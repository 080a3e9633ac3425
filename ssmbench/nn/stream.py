"""What a network carries from one chunk of a stream to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.errors import require


@dataclass(frozen=True)
class StreamState:
    """The state after ``steps`` steps: what they leave behind for those to come.

    ``layers``: each SSM layer's state (B, H, N), in its own coordinates; None for the one that the
    layer starts from. ``total`` (B, d_model): what a pooled network has summed so far.
    """

    layers: tuple[Inexact[Tensor, ...] | None, ...]
    total: Float[Tensor, "B d"] | None = None
    steps: int = 0

    def detach(self) -> StreamState:
        """Without the graph, for truncated backpropagation through time."""
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
