"""The tighter bound on a network's gain, beside the product of the bounds of its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound import NetworkBound, network_bound
from ssmbench.nn.framing import Framing
from ssmbench.nn.lumping import NotLumpedError, lumped_network
from ssmbench.nn.model import SequenceModel
from ssmbench.results import NetworkGains

#: The setting of which the search is a function, in an error or a reason.
_SETTING = "analysis.network_bound"
#: Most different lengths of a batch for which one mean over the steps is bounded.
_MOST_LENGTHS = 256


@dataclass(frozen=True)
class Bounds:
    """The bounds of one network: composed of those of its parts; the tighter one, infinite where
    none was found; and on its zero-state gain, where it claims one."""

    composed: Bound
    tighter: NetworkBound
    from_zero: Bound | None = None

    @property
    def least(self) -> Bound:
        """The smaller one."""
        better = self.tighter.gain < self.composed.value
        return Bound(self.tighter.gain) if better else self.composed

    def noted(self, figures: NetworkGains) -> NetworkGains:
        """The figures with where their bound comes from."""
        if not self.composed.finite:
            return figures
        if self.tighter.gain >= self.composed.value:
            reason = self.tighter.reason or "the product is not larger"
            return replace(figures, product_bound=figures.bound, product_reason=reason)
        lengths = self.tighter.lengths
        return replace(figures, product_bound=self.composed.value, bound_lengths=lengths)


def tighter_bound(
    frozen: SequenceModel,
    product: Bound,
    layer_gains: Sequence[float | None],
    channels: int,
    lengths: tuple[int, ...],
    budget: float,
    known: np.ndarray | None = None,
) -> NetworkBound:
    """A bound for sequences of ``lengths`` steps that is often far below the ``product``.

    ``frozen``: the network with its present systems, on any device. ``channels``: of the signal
    that its gains refer to. ``budget``: billions of multiplications. ``known``: multipliers that
    are proved in place of a search. The gain is infinite, for the reason given, where the product
    is, where the budget is too small, and where no proof succeeds.
    """
    if not product.finite:
        return _none(product.reason)
    if budget <= 0:
        return _none(f"{_SETTING} is 0")
    if len(lengths) > _MOST_LENGTHS:
        return _none(f"sequences of more than {_MOST_LENGTHS} different lengths")
    try:
        with torch.no_grad():
            network = lumped_network(frozen, layer_gains, channels, lengths)
    except NotLumpedError as error:
        return _none(str(error))
    return _of_samples(network_bound(network, budget * 1e9, known), frozen.framing, lengths)


def _of_samples(found: NetworkBound, framing: Framing, lengths: tuple[int, ...]) -> NetworkBound:
    """A bound by the numbers of samples, of which several may fill as many frames."""
    if not math.isfinite(found.gain):
        return replace(found, lengths=())
    by_frames = dict(zip(found.lengths, found.ellipsoids, strict=False))
    ellipsoids = [by_frames[framing.count(length)] for length in lengths] if by_frames else ()
    return replace(found, lengths=lengths, ellipsoids=tuple(ellipsoids))


def batch_lengths(steps: int, lengths: Shaped[Tensor, ...] | None) -> tuple[int, ...]:
    """The different lengths of a batch's sequences, in samples, the shortest first."""
    return (steps,) if lengths is None else tuple(lengths.unique().tolist())


def _none(reason: str) -> NetworkBound:
    return NetworkBound(math.inf, reason)
