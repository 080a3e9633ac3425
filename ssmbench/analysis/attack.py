"""An adversary: the largest amplification that gradient ascent finds, a lower bound on the gain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Map = Callable[[Tensor], Tensor]

_TINY = 1e-300


@dataclass(frozen=True)
class Attack:
    """The worst disturbance found: ``||f(base + disturbance) - f(base)|| / ||disturbance||``."""

    gain: float
    base: Float[Tensor, "L m"]
    disturbance: Float[Tensor, "L m"]


def attack(
    function: Map,
    base: Float[Tensor, "R L m"],
    amplitude: Float[Tensor, " R"],
    *,
    steps: int,
    seed: int,
) -> Attack:
    """The largest incremental l2 gain found from R starting points in ``steps`` ascents each.

    Each step goes to the disturbance of the given amplitude along the gradient of
    ``||f(base + d) - f(base)||^2``: steepest ascent on the sphere, which for a linear map is power
    iteration. ``function`` must treat the R sequences independently. An output that is not finite
    is an infinite gain.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(base.shape, generator=generator).to(base)
    disturbance = _on_sphere(noise, amplitude)
    with torch.no_grad():
        rest = function(base)
    best = Attack(0.0, base[0], disturbance[0])
    for _ in range(steps):
        disturbance = disturbance.detach().requires_grad_()
        change = (function(base + disturbance) - rest).flatten(1)
        gains = _norms(change) / _norms(disturbance).clamp_min(_TINY)
        best = _better(best, gains, base, disturbance)
        if not math.isfinite(best.gain) or not change.requires_grad:
            break
        (gradient,) = torch.autograd.grad(change.square().sum(), disturbance)
        usable = torch.isfinite(gradient).flatten(1).all(1) & (_norms(gradient) > 0)
        moved = _on_sphere(gradient, amplitude)
        disturbance = torch.where(usable[:, None, None], moved, disturbance.detach())
    return best


def _norms(signals: Tensor) -> Float[Tensor, " R"]:
    return torch.linalg.vector_norm(signals.detach().flatten(1).double(), dim=1)


def _on_sphere(direction: Tensor, amplitude: Tensor) -> Tensor:
    scale = amplitude.double() / _norms(direction).clamp_min(_TINY)
    return (direction.double() * scale[:, None, None]).to(direction.dtype)


def _better(best: Attack, gains: Tensor, base: Tensor, disturbance: Tensor) -> Attack:
    gains = torch.where(torch.isnan(gains), math.inf, gains)
    index = int(gains.argmax())
    if gains[index] <= best.gain:
        return best
    return Attack(gains[index].item(), base[index], disturbance[index].detach())
