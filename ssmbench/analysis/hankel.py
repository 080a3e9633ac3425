"""Hankel singular values: how much each direction of the state carries from past inputs to
future outputs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.gramians import controllability_factor, observability_factor
from ssmbench.analysis.scaling import first_order, in_units
from ssmbench.systems import ContinuousSystem, DiscreteSystem


def hankel_singular_values(
    system: ContinuousSystem | DiscreteSystem,
) -> Float[Tensor, "H order"]:
    """The Hankel singular values of every head, largest first, float64.

    A head that is not stable has none: its values are infinite. Those far below the largest are
    known to about the rounding unit times the largest.

    Source: Glover (1984), Int. J. Control 39:1115; from factors of the Gramians, as in Laub, Heath,
        Paige & Ward (1987), IEEE Trans. Autom. Control 32:115, so that no Gramian is formed.
    """
    units = in_units(first_order(system.detach()))
    stable = (units.system.gap_of(units.system.poles()) > 0).all(-1)
    stable = stable & torch.stack([t.isfinite().flatten(1).all(1) for t in _tensors(system)]).all(0)
    values = system.D.real.new_full((system.heads, system.order), math.inf, dtype=torch.float64)
    if bool(stable.any()) and system.order:
        dense = units.system.to_dense()
        is_complex = any(t.is_complex() for t in (dense.A, dense.B, dense.C))
        common = torch.complex128 if is_complex else torch.float64
        dense = dense.map(lambda t: t[stable].to(common))
        found = torch.linalg.svdvals(observability_factor(dense).mH @ controllability_factor(dense))
        padded = torch.nn.functional.pad(found, (0, system.order - found.shape[-1]))
        values[stable] = padded
    return units.gain(values)


def _tensors(system: ContinuousSystem | DiscreteSystem) -> list[Tensor]:
    return [system.dynamics, system.B, system.C]
