"""The gain of a discrete system at every frequency, on a grid that resolves its resonances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.hinf import gain_curve, hinf_norm
from ssmbench.analysis.scaling import first_order, in_units
from ssmbench.linalg.singular_values import sigma_max_by_gram
from ssmbench.systems import DiagonalSystem, DiscreteSystem

#: Frequencies beside those at the poles, which are added for the poles nearest to the boundary.
_GRID = 400
_RESONANCES = 64
#: Where a resonance is sampled, in units of the pole's distance to the boundary.
_AROUND = np.array([-10.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 10.0])
#: Complex numbers of one temporary: 32 MB.
_CHUNK = 2**21


@dataclass(frozen=True)
class GainOverFrequency:
    """The largest singular value of the transfer matrix at frequencies omega (W,), in radians per
    sample: ``gain`` (W,) is the largest of all heads, ``heads`` (H, W) that of each.

    ``peak`` is the H-infinity norm, reached at ``peak_omega``, which is one of the frequencies.
    Below ``corner``, which is positive, the gain is that of a constant input. Of a system that is
    not stable the norm is infinite, and there are no frequencies (W = 0).
    """

    omega: np.ndarray
    heads: np.ndarray
    peak: float
    peak_omega: float
    corner: float

    @property
    def gain(self) -> np.ndarray:
        return self.heads.max(0, initial=0.0)


def gain_over_frequency(system: DiscreteSystem) -> GainOverFrequency:
    """The gain at each frequency: in [0, pi] for a real system, else in [-pi, pi]."""
    system = system.detach().to("cpu").double()
    norms = hinf_norm(system)
    worst = int(norms.norm.argmax())
    peak, at = float(norms.norm[worst]), float(norms.omega[worst])
    if not math.isfinite(peak):
        return GainOverFrequency(np.empty(0), np.empty((system.heads, 0)), math.inf, at, math.pi)
    poles = system.poles().flatten()
    gaps = system.gap_of(poles).clamp_min(1e-12).numpy()
    angles = system.frequency_of(poles).numpy()
    corner = min(max(float(np.hypot(angles, gaps).min(initial=math.pi)) / 10, 1e-7), 1e-2)
    base = np.append(0.0, np.geomspace(corner, np.pi, _GRID))
    if not system.is_real():
        base = np.linspace(-np.pi, np.pi, _GRID)
    omega = _with_resonances(base, angles, gaps, at, corner)
    gains = _gains(system, torch.from_numpy(omega)).numpy()
    return GainOverFrequency(omega, gains, peak, at, corner)


def _with_resonances(
    base: np.ndarray, angles: np.ndarray, gaps: np.ndarray, peak: float, corner: float
) -> np.ndarray:
    sharpest = np.argsort(gaps)[:_RESONANCES]
    near = (angles[sharpest, None] + gaps[sharpest, None] * _AROUND).ravel()
    near = near if base[0] < 0 else np.abs(near)
    near = near[(np.abs(near) >= corner) & (np.abs(near) <= np.pi)]
    return np.unique(np.concatenate([base, near, [peak]]))


def _gains(system: DiscreteSystem, omega: Float[Tensor, " W"]) -> Float[Tensor, "H W"]:
    """The largest singular value of every head at each frequency."""
    units = in_units(first_order(system))
    if isinstance(units.system, DiagonalSystem) and min(system.inputs, system.outputs) == 1:
        size = system.heads * (system.states + 1) * max(system.inputs, system.outputs)
        pieces = omega.split(max(1, _CHUNK // size))
        parts = [sigma_max_by_gram(units.system.frequency_response(part)) for part in pieces]
        return units.gain(torch.cat(parts, 1))
    heads = [gain_curve(units.system.head(h))(omega.numpy()) for h in range(system.heads)]
    return units.gain(torch.from_numpy(np.stack(heads)))
