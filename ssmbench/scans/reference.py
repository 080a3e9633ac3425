"""The oracle: a plain loop in complex128, one step a line of the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.registry import scans
from ssmbench.scans.base import ScanBackend, initial_state, read_out
from ssmbench.systems import DiscreteDiagonal, DiscreteSystem


@scans.register("reference", summary="loop in complex128; the oracle that the others are held to")
class ReferenceScan(ScanBackend):
    """Sequential loop in double precision; slow, for tests and as the definition."""

    def __call__(
        self, system: DiscreteSystem, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        wide, u64 = system.double(), u.to(torch.complex128 if u.is_complex() else torch.float64)
        state = initial_state(wide, u64, x0)
        drive = torch.einsum("hnm,blhm->blhn", wide.B.to(state.dtype), u64.to(state.dtype))
        states = []
        for b in drive.unbind(1):  # indexing b[:, k] would make the backward quadratic in L
            states.append(state)
            state = _advance(wide, state) + b
        y = read_out(wide, torch.stack(states, 1), u64)
        return _narrow(y, u.dtype), _narrow(state, u.dtype)


def _advance(system: DiscreteSystem, state: Tensor) -> Tensor:
    if isinstance(system, DiscreteDiagonal):
        return system.lam * state
    return torch.einsum("hij,bhj->bhi", system.A.to(state.dtype), state)


def _narrow(value: Tensor, like: torch.dtype) -> Tensor:
    """``value`` in the precision of ``like``, complex where it is complex."""
    real = like.to_real() if like.is_complex else like
    return value.to(real.to_complex() if value.is_complex() else real)
