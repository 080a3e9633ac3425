"""The reference: the recurrence in a plain loop, in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.linalg.precision import to_double, to_single
from ssmbench.registry import scans
from ssmbench.scans.base import (
    ScanBackend,
    Scannable,
    sequential_linear_scan,
    sequential_scan,
    sequential_time_varying_scan,
    widening,
)
from ssmbench.scans.delta import sequential_delta_scan
from ssmbench.systems import TimeVaryingDelta, TimeVaryingDiagonal


@scans.register("reference")
class ReferenceScan(ScanBackend):
    """Sequential loop in double precision: slow; what other backends are tested against."""

    preference = None
    system_types = Scannable
    takes_shared_rows = True

    @widening
    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        system, wide, start = system.double(), to_double(u), None if x0 is None else to_double(x0)
        if isinstance(system, TimeVaryingDelta):
            y, final = sequential_delta_scan(system, wide, start)
        elif isinstance(system, TimeVaryingDiagonal):
            y, final = sequential_time_varying_scan(system, wide, start)
        else:
            y, final = sequential_scan(system, wide, start)
        return _narrow(y, u.dtype), _narrow(final, u.dtype)

    @widening
    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        start = None if x0 is None else to_double(x0)
        s = sequential_linear_scan(to_double(a), to_double(b), start, reverse=reverse)
        return _narrow(s, b.dtype)


def _narrow(value: Tensor, like: torch.dtype) -> Tensor:
    """``value`` in the precision of ``like``, complex where it is complex."""
    wide = like in (torch.float64, torch.complex128)
    return to_double(value) if wide else to_single(value)
