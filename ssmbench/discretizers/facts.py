"""Properties of a discretizer (order, stability, gain), computed from the method itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ssmbench.analysis import stability_region as region


@dataclass(frozen=True)
class Facts:
    """A discretizer's behaviour, computed from it and tested against independent measurement.

    ``order`` is that of the stability function: ``R(z) = e^z + O(z^(order+1))``; infinite where the
    poles are exact. ``real_interval`` and ``imaginary_interval`` are the largest r for which
    ``|R| <= 1`` on [-r, 0] and on [0, i r]. ``gain_distortion`` is the H-infinity norm of a
    discretized resonator (omega 1, sigma 0.02, step 1) over that of the continuous one, infinite
    where it has become unstable.
    """

    order: int | float
    a_stable: bool
    l_stable: bool
    preserves_gain: bool
    real_interval: int | float
    imaginary_interval: int | float | None = None
    gain_distortion: int | float | None = None
    note: str = ""


def computed_facts(
    method: Callable[[Any], Any], R: region.StabilityFunction, note: str = ""
) -> Facts:
    """The facts of a method and its stability function R, in float64."""
    with torch.no_grad():
        return Facts(
            order=region.taylor_order(R),
            a_stable=region.is_a_stable(R),
            l_stable=region.is_l_stable(R),
            preserves_gain=region.preserves_gain(method),
            real_interval=region.stable_interval(R, -1.0),
            imaginary_interval=region.stable_interval(R, 1j),
            gain_distortion=region.resonator_distortion(method),
            note=note,
        )
