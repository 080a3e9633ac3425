"""Where figures that were measured contradict declared >= verified >= attacked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from ssmbench.analysis.certificate import TOLERANCE, GainClaim
from ssmbench.results import LayerGains, NetworkGains

#: Above this gain float32 may overflow for signals of norm 1, so that an attacked gain of infinity
#: contradicts no verified one.
_OVERFLOW_GAIN = torch.finfo(torch.float32).max / 16


def violations(layers: Sequence[LayerGains], network: NetworkGains) -> list[str]:
    """One sentence for each violation of declared >= verified >= attacked.

    The network's bound is composed of bounds that exceed the layers' gains by what their proofs
    leave open; by so much it may exceed the declared gain.
    """
    found = []
    for index, gains in enumerate(layers):
        if gains.verified is None:
            if gains.declared is not None and gains.attacked > gains.declared * (1 + TOLERANCE):
                found.append(
                    f"layer {index}: attacked {gains.attacked:g} > declared {gains.declared:g}"
                )
            continue
        if gains.declared is not None and gains.verified > gains.declared * (1 + TOLERANCE):
            found.append(
                f"layer {index}: verified {gains.verified:g} > declared {gains.declared:g}"
            )
        overflow = math.isinf(gains.attacked) and gains.verified > _OVERFLOW_GAIN
        if gains.attacked > gains.verified * (1 + TOLERANCE) and not overflow:
            found.append(
                f"layer {index}: attacked {gains.attacked:g} > verified {gains.verified:g}"
            )
    declared, bound, attacked = network.declared, network.bound, network.attacked
    # a tighter bound holds for some lengths only, and so excuses the composed one for these only
    composed = bound
    if network.product_bound is not None and not network.declared_lengths:
        composed = network.product_bound
    if network.claim == GainClaim.zero_state.value:
        composed = bound = (
            math.inf if network.zero_state_bound is None else network.zero_state_bound
        )
        attacked = network.zero_state or 0.0
    if declared is not None and composed > declared * (1 + TOLERANCE) * _left_open(layers):
        found.append(f"network: bound {composed:g} > declared {declared:g}")
    if attacked > bound * (1 + TOLERANCE):
        found.append(f"network: attacked {attacked:g} > bound {bound:g}")
    return found


def _left_open(layers: Iterable[LayerGains]) -> float:
    """The product, over the layers, of the proved bound relative to the verified gain."""
    open_ = (
        max(1.0, layer.verified_bound / layer.verified)
        for layer in layers
        if layer.verified and layer.verified_bound is not None
    )
    return math.prod(open_, start=1.0)
