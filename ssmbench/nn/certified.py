"""Networks of a prescribed gain: what their gain refers to, and what their parts must declare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.certificate import IDENTITY, Bound, GainClaim
from ssmbench.errors import require
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.bounds import total_gain, zero_state_bound
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.layer import SSMLayer
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


def claim_of(blocks: Iterable[Block]) -> GainClaim:
    """Which gain blocks in series can keep, by what their SSM layers declare."""
    return GainClaim.weakest(block.gain_claim for block in blocks)


def bound_of(part: Encoder | Norm, claim: GainClaim) -> Bound:
    """A bound on the gain of a part, of the kind that is claimed."""
    return part.bound() if claim is GainClaim.incremental else zero_state_bound(part)


def block_bound(block: Block, layer_gain: float | None, claim: GainClaim) -> Bound:
    """A bound on the gain of a block, of the kind that is claimed."""
    if claim is GainClaim.incremental:
        return block.bound(layer_gain)
    return block.zero_state_bound(layer_gain)


def composed_bound(
    claim: GainClaim,
    encoder: Encoder | None,
    blocks: Iterable[Block],
    gains: Mapping[SSMLayer, float | None],
    final_norm: Norm,
) -> Bound:
    """A bound on the gain from the input, or after the encoder if there is None, to the features
    that the decoder reads, from bounds on the gains of the SSM layers."""
    total = IDENTITY if encoder is None else bound_of(encoder, claim)
    for block in blocks:
        together = total_gain([gains[layer] for layer in block.layers])
        total = total.then(block_bound(block, together, claim))
    return total.then(bound_of(final_norm, claim))


def declared_bound(blocks: Iterable[Block], final_norm: Norm) -> Bound:
    """Bound of all blocks and the final norm in series, from what the SSM layers declare: of the
    incremental gain, or of the zero-state gain where a layer declares no other
    (:func:`claim_of`)."""
    blocks = list(blocks)
    total, claim = IDENTITY, claim_of(blocks)
    for index, block in enumerate(blocks):
        gain = block.declared_gain()
        known = gain is not None or any(map(_varies_without_gain, block.layers))
        undeclared = Bound.none(f"the SSM layer of block {index} declares no gain{_why(block)}")
        stated = known or bool(block.why_unbounded)
        total = total.then(block_bound(block, gain, claim) if stated else undeclared)
    return total.then(bound_of(final_norm, claim))


def _varies_without_gain(layer: SSMLayer) -> bool:
    """Whether a layer is time-varying, and its parametrization declares no gain."""
    return layer.time_varying and not layer.undeclared_reason()


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
    blocks = list(blocks)
    bound = declared_bound(blocks, final_norm)
    require(bound.finite, f"model.gamma: no finite certificate because {bound.reason}")
    if claim_of(blocks) is GainClaim.zero_state:
        _check_maps_zero_to_zero("encoder", None if encoded else encoder)
        _check_maps_zero_to_zero("decoder", decoder)


def _check_maps_zero_to_zero(kind: str, part: Encoder | Decoder | None) -> None:
    require(
        part is None or part.maps_zero_to_zero,
        f"model.gamma: the SSM layers declare zero-state gains, so every part must map zero to "
        f"zero, and the {kind} {type(part).__name__} may not; set model.{kind}.bias=false",
    )


def declared_pair_gains(
    decoder: Decoder, gamma: float, steps: int, outputs: int, relaxed: float = 1.0
) -> Float[Tensor, "K K"]:
    """The gains to differences of ``outputs`` outputs that a network with a ``gamma`` declares,
    (K, K), in the precision of the decoder's parameters and with gradients to them.

    The features have gain 1 where the decoder has gamma times ``relaxed``, by how much the product
    is relaxed that otherwise keeps gamma; a mean over ``steps`` steps divides it.
    """
    rows = decoder.rows(gamma * relaxed)
    whole = math.sqrt(2) * gamma
    if rows is None:
        apart = 1 - torch.eye(outputs, device=next(decoder.parameters()).device)
        return whole * apart
    pooled = 1.0 if decoder.pooling is None else decoder.pooling.bound(steps).value
    gains = pooled * torch.linalg.vector_norm(rows[:, None] - rows, dim=-1)
    return gains if relaxed == 1.0 else gains.clamp_max(whole)
