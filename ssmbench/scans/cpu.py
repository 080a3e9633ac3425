"""The CPU backend: fused C kernels where they were compiled, chunked torch elsewhere."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ssmbench.registry import NoOptions, scans
from ssmbench.scans import native, selective
from ssmbench.scans.base import (
    ScanBackend,
    Scannable,
    scan_through_states,
    state_dtype,
    time_varying_scan,
    widening,
)
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.scans.chunked_dense import worth_toeplitz
from ssmbench.systems import (
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    SampledModes,
    TimeVaryingDelta,
    TimeVaryingDiagonal,
)

#: Most states plus inputs (or outputs) of a dense system that goes through the C kernel.
_WIDEST_DENSE = 256
#: Dtypes of states that the C kernels support.
_STATE_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@scans.register("cpu")
class CPUScan(ScanBackend):
    """C kernels where they were compiled, chunked matrix products otherwise; the default."""

    preference = 20
    system_types = Scannable
    takes_shared_rows = True
    loops_where_varying = False

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self._chunked = ChunkedScan(config)
        self._compiled = native.unavailable_reason() is None
        self._linear_scan_is_ours = type(self).linear_scan is CPUScan.linear_scan

    @widening
    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(system, TimeVaryingDiagonal):
            if self._linear_scan_is_ours and _is_selective(system, u):
                return native.scan_selective(system, u, x0)
            return time_varying_scan(system, u, x0, self.linear_scan)
        if isinstance(system, TimeVaryingDelta):
            return native.scan_delta(system, u, x0)
        if not (self._compiled and _is_native(system, u)):
            return self._chunked(system, u, x0)
        if isinstance(system, DiscreteDense):
            loop = _is_small(system) and not worth_toeplitz(system, u)
            return (native.scan_dense if loop else self._chunked)(system, u, x0)
        if system.inputs == system.outputs == 1 and _is_real_valued(system):
            few = 2 * system.heads < native.lanes(u)
            return self._chunked(system, u, x0) if few else _fused(system, u, x0)
        return scan_through_states(system, u, x0, native.linear_scan)

    def fuses(self, system: SampledModes, u: Tensor) -> bool:
        """Whether it is one of the selective kernels': real, one input a head."""
        return self._compiled and _is_selective(system, u)

    @widening
    def scan_sampled(
        self, system: SampledModes, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return native.scan_selective(system, u, x0)

    @widening
    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        if self._compiled and b.dtype in _STATE_DTYPES and b.device.type == "cpu" and b.numel() > 0:
            return native.linear_scan(a, b, x0, reverse=reverse)
        return self._chunked.linear_scan(a, b, x0, reverse=reverse)


def _is_native(system: DiscreteSystem, u: Tensor) -> bool:
    return state_dtype(system, u) in _STATE_DTYPES and u.device.type == "cpu" and u.numel() > 0


def _is_selective(system: SampledModes | TimeVaryingDiagonal, u: Tensor) -> bool:
    dtypes = (system.state_dtype, system.signal_dtype, u.dtype, torch.float32)
    dtype = functools.reduce(torch.promote_types, dtypes)
    return native.has_selective(dtype, u) and selective.suits(system, u)


def _is_small(system: DiscreteDense) -> bool:
    """Whether it is real and its matrices fit the cache; larger ones are faster in chunks."""
    width = system.states + max(system.inputs, system.outputs)
    return native.is_real(system) and width <= _WIDEST_DENSE


def _is_real_valued(system: DiscreteDiagonal) -> bool:
    return system.conjugate or native.is_real(system)


def _fused(system: DiscreteDiagonal, u: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
    dtype = state_dtype(system, u)
    complex_ = torch.promote_types(dtype, torch.complex64)
    real = torch.float64 if complex_ == torch.complex128 else torch.float32
    factor = 2 if system.conjugate else 1  # y = 2 Re(C x) for pairs
    y, final = native.fused_layer(
        u.squeeze(-1).to(real),  # the derivative of an index is a tensor of zeros
        system.lam.to(complex_),
        system.B.squeeze(-1).to(complex_),
        factor * system.C.squeeze(1).to(complex_),
        system.D.flatten().to(real),
        None if x0 is None else x0.to(complex_),
    )
    return y[..., None], final if dtype.is_complex else final.real
