"""Bounds on a trained network, composed of the proved bounds of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.analysis.network_bound import NetworkBound
from ssmbench.analysis.pair_gains import PairGains
from ssmbench.nn.model import SequenceModel
from ssmbench.results import LayerGains

UNPROVED = Bound.none("the gain of an SSM layer could not be proved")


def worst_bound(
    model: SequenceModel, layers: list[LayerGains], length: int, lengths: Tensor | None
) -> tuple[Bound, int]:
    """The network's largest bound over all ``lengths``, and the length at which it holds: the mean
    over a short sequence may have a larger gain than that over a long one."""
    shortest = length if lengths is None else int(lengths.min())
    zero_state = model.gain_claim is GainClaim.zero_state
    figure = zero_state_bound if zero_state else composed_bound
    bound, of_shortest = figure(model, layers, length), figure(model, layers, shortest)
    if zero_state:
        steps = shortest if of_shortest.value > bound.value else length
        return composed_bound(model, layers, steps), steps
    return (of_shortest, shortest) if of_shortest.value > bound.value else (bound, length)


def composed_bound(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound, from the proved bounds of its layers."""
    bound = model.bound(proved_layer_gains(layers), length)
    return UNPROVED if any(map(_is_unproved, layers)) else bound


def zero_state_bound(model: SequenceModel, layers: list[LayerGains], length: int) -> Bound:
    """The network's bound on ``||f(u)|| / ||u||``, from the proved bounds of its layers and from
    what time-varying ones declare."""
    bound = model.zero_state_bound(proved_layer_gains(layers), length)
    return UNPROVED if any(map(_is_unproved, layers)) else bound


def proved_layer_gains(layers: Iterable[LayerGains]) -> list[float | None]:
    """The proved bound of each layer; of a time-varying one, of which nothing can be verified, what
    its parametrization declares by a proof for all parameter values."""
    return [g.declared if g.verified is None else g.verified_bound for g in layers]


@dataclass(frozen=True)
class KnownPairs:
    """Gains to differences of outputs, for sequences of each of some ``lengths``, in samples."""

    gains: PairGains
    lengths: tuple[int, ...]


def known_pairs(tighter: NetworkBound) -> KnownPairs | None:
    """What the tighter bound says of differences of outputs, the largest over its lengths."""
    if not tighter.ellipsoids:
        return None
    found = [PairGains.of_ellipsoid(torch.from_numpy(S)) for S in tighter.ellipsoids]
    return KnownPairs(reduce(PairGains.maximum, found), tighter.lengths)


def proved_pairs(
    model: SequenceModel, layers: Sequence[LayerGains], length: int
) -> PairGains | None:
    """As :func:`composed_bound`, to differences of outputs; None where that is infinite."""
    if any(map(_is_unproved, layers)):
        return None
    return model.pair_gains(proved_layer_gains(layers), length)


def _is_unproved(layer: LayerGains) -> bool:
    """Whether the layer's gain is finite, but no finite bound of it could be proved."""
    if layer.verified is None:
        return False
    return math.isfinite(layer.verified) and layer.verified_bound == math.inf
