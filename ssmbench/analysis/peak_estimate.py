"""A quick estimate of the peak gain of a bank of diagonal systems: a lower bound, without a proof.

The gain is evaluated at the frequencies of the poles, in the middle between two of them and at the
ends of the axis, and the largest value is refined between its neighbours. Training needs no more;
what is promised needs :func:`ssmbench.analysis.upper_bound.hinf_bound`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.hinf import gain_at
from ssmbench.systems import DiscreteDiagonal

#: Points of one refinement, the ends of the bracket included, and how often it is refined.
_POINTS, _ROUNDS = 9, 2


def estimated_peak_gain(system: DiscreteDiagonal) -> Float[Tensor, " H"]:
    """The gain (H,) of stable heads with one input and one output at about its peak frequency.

    float64, never above the H-infinity norm except for rounding. Differentiable with the frequency
    held fixed, which is the gradient of the peak (envelope theorem).
    """
    system = system.double()
    with torch.no_grad():
        omega = _candidates(system)
        for _ in range(_ROUNDS):
            omega = _around_largest(omega, _gain(system, omega))
        best = _gain(system, omega).argmax(-1, keepdim=True)
    return gain_at(system, omega.gather(1, best)[:, 0])


def _gain(system: DiscreteDiagonal, omega: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    return system.frequency_response(omega)[..., 0, 0].abs()


def _candidates(system: DiscreteDiagonal) -> Float[Tensor, "H W"]:
    """Frequencies of the poles, the ends of the axis, and the middles between them, ascending."""
    real = system.is_real()
    angles = torch.angle(system.lam).abs() if real else torch.angle(system.poles())
    ends = torch.full_like(angles[:, :1], math.pi)
    edges = torch.cat([torch.zeros_like(ends) if real else -ends, angles, ends], -1)
    edges = edges.sort(-1).values
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    return torch.cat([edges, middles], -1).sort(-1).values


def _around_largest(omega: Tensor, gain: Tensor) -> Float[Tensor, "H P"]:
    """The frequency of the largest gain, and a finer grid between its neighbours, ascending."""
    index, last = gain.argmax(-1, keepdim=True), omega.shape[1] - 1
    low = omega.gather(1, (index - 1).clamp_min(0))
    high = omega.gather(1, (index + 1).clamp_max(last))
    finer = low + (high - low) * torch.linspace(0, 1, _POINTS, dtype=omega.dtype).to(omega)
    return torch.cat([finer, omega.gather(1, index)], -1).sort(-1).values
