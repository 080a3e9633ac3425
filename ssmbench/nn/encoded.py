"""A network after its encoder: the map whose gain is measured if the input itself has no norm."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ssmbench.lengths import mask_steps, valid_steps
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pairs import join_pairs, split_pairs


class AfterEncoder(nn.Module):
    """The map from a network's encoded input (B, L, d) to its prediction."""

    def __init__(self, network: SequenceModel):
        super().__init__()
        self.network = network

    @property
    def layers(self) -> list[SSMLayer]:
        """The network's SSM layers."""
        return self.network.layers

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Shaped[Tensor, ...] | None = None,
        dt: Float[Tensor, ...] | None = None,
    ) -> Float[Tensor, "B *steps out"]:
        return self.network.from_encoded(x, lengths, dt)


#: A map from signals (B, L, d) to the prediction: a network, or the part after its encoder.
SignalMap = SequenceModel | AfterEncoder


def gain_map(
    network: SequenceModel, u: Shaped[Tensor, "B ..."], lengths: Shaped[Tensor, ...] | None = None
) -> tuple[SignalMap, Float[Tensor, "B L d"]]:
    """The map whose gain is measured according to the network's ``gains_from``, and its input for
    u: the network and u, or the part after the encoder and the encoded u.

    The signals are on the network's device, in its precision, without gradients; encoded ones are
    zero in the padding.
    """
    u = network.as_input(u)
    if network.gains_from is GainsFrom.input:
        return network, u
    with torch.no_grad():
        return AfterEncoder(network), network.encode(u, lengths)


def mask_signals(
    signals: Float[Tensor, "B L d"], lengths: Shaped[Tensor, ...] | None
) -> Float[Tensor, "B L d"]:
    """Signals as :func:`gain_map` gives them, with zeros after ``lengths`` (B,) or (B, 2)."""
    if lengths is None:
        return signals
    pairs = lengths.ndim == 2
    rows = split_pairs(signals).flatten(0, 1) if pairs else signals
    rows = mask_steps(rows, valid_steps(lengths.flatten(), rows.shape[1]))
    return join_pairs(rows) if pairs else rows
