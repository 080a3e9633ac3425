"""Networks of a prescribed gain: what their gain refers to, and what their parts must declare."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.errors import require
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.norms.base import Norm
from ssmbench.spec import Channels, Reading


class GainsFrom(Enum):
    """The signal that a network's gains refer to."""

    input = "input"
    encoded = "encoded input"


def gains_from(encoder: Encoder, decoder: Decoder) -> GainsFrom:
    """The signal that the gains of a network refer to: its input, unless that is tokens, which have
    no norm, or a pair of sequences, of which the encodings are disturbed."""
    channels = Channels in encoder.accepts and decoder.reads is not Reading.pair
    return GainsFrom.input if channels else GainsFrom.encoded


def declared_bound(blocks: Iterable[Block], final_norm: Norm) -> Bound:
    """Bound of all blocks and the final norm in series, from what the SSM layers declare."""
    total = IDENTITY
    for index, block in enumerate(blocks):
        gain = block.declared_gain()
        known = gain is not None or any(layer.time_varying for layer in block.layers)
        undeclared = Bound.none(f"the SSM layer of block {index} declares no gain{_why(block)}")
        stated = known or bool(block.why_unbounded)
        total = total.then(block.bound(gain) if stated else undeclared)
    return total.then(final_norm.bound())


def _why(block: Block) -> str:
    """The reason why a layer of the block declares no gain, if there is more to say."""
    reasons = [layer.undeclared_reason() for layer in block.layers]
    return next((f": {reason}" for reason in reasons if reason), "")


def check_certifiable(
    gamma: float, encoder: Encoder, blocks: Iterable[Block], final_norm: Norm, decoder: Decoder
) -> None:
    """Raise a UsageError unless the gain of a network of these parts can be prescribed."""
    require(0 < gamma < math.inf, f"model.gamma: must be positive, got {gamma}")
    encoded = gains_from(encoder, decoder) is GainsFrom.encoded
    bounded = encoded or (encoder.lipschitz is not None and encoder.lipschitz <= 1)
    require(
        bounded,
        f"model.gamma: the encoder {type(encoder).__name__} has no Lipschitz constant of at most 1 "
        "for all parameter values; choose model.encoder=bounded_linear, or null",
    )
    require(
        decoder.takes_gain,
        f"model.gamma: the gain of the decoder {type(decoder).__name__} cannot be prescribed: "
        f"{decoder.unbounded_reason or 'it follows from the weights'}",
    )
    bound = declared_bound(blocks, final_norm)
    require(bound.finite, f"model.gamma: no finite certificate because {bound.reason}")
