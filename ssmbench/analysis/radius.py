"""Radii in which no disturbance changes the class that is predicted.

Source: Tsuzuku, Sato & Sugiyama, Lipschitz-Margin Training, NeurIPS 2018, arXiv 1802.04034,
proposition 1; for nearest neighbours, the triangle inequality.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from ssmbench.analysis.pair_gains import PairGains

#: By how much the last roundings of a radius may make it too large, relatively.
_ROUNDING = 1e-12


def certified_radii(
    logits: Float64[Tensor, "n K"], pairs: PairGains, error: Float64[Tensor, " n"]
) -> Float64[Tensor, " n"]:
    """For each row: the l2 norm below which no disturbance changes its largest logit's place.

    min over b of (z_a - z_b - 2 e) / g_ab, where a is the largest logit, g_ab the gain to
    z_a - z_b, and e bounds the ``error`` of each logit; 0 where a margin is within its error or a
    logit is not finite, infinite for a single class.
    """
    largest, place = logits.max(1, keepdim=True)
    margins = largest - logits - 2 * error[:, None]
    gains = pairs.matrix.to(logits.device)[place[:, 0]]
    # A gain of 0 is of logits that never change against each other.
    radii = torch.where(margins > 0, margins / gains, 0.0) * (1 - _ROUNDING)
    radii = radii.scatter(1, place, math.inf).amin(1)
    return torch.where(torch.isfinite(logits).all(1), radii, 0.0)


def nearest_neighbour_radii(
    same: Float64[Tensor, " n"], other: Float64[Tensor, " n"]
) -> Float64[Tensor, " n"]:
    """As :func:`certified_radii`, of the class of the nearest training sequence.

    ``same``: the distance to it; ``other``: that to the nearest one of another class. A
    disturbance of norm r changes each by at most r: the order stays where r < (other - same) / 2.
    """
    return (other - same).clamp_min(0) / 2 * (1 - _ROUNDING)
