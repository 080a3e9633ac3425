"""The Triton scan backend. Importing this needs neither a GPU nor Triton; running it does.

Inside the package, ``import triton`` is the compiler (imports are absolute), and it stands only in
``kernels``, ``bank_kernel``, ``table_kernel``, ``delta_kernel``, ``dense_kernel``,
``selective_kernel``, ``selective_rules``, ``sampling_kernel`` and ``compile_gate``, so that listing
the backends never loads it.
"""

from __future__ import annotations

import importlib.util
import os

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.registry import scans
from ssmbench.scans.base import (
    ScanBackend,
    Scannable,
    drive_states,
    initial_state,
    read_out,
    time_varying_scan,
)
from ssmbench.scans.selective import suits
from ssmbench.scans.triton.blocks import DELTA, DENSE, SELECTIVE
from ssmbench.systems import (
    DiscreteDense,
    DiscreteDiagonal,
    SampledModes,
    TimeVaryingDelta,
    TimeVaryingDiagonal,
)

#: The most keys that a tile of states holds.
MOST_KEYS = DELTA[-1].block_n
#: The most states of a dense matrix that the kernel keeps.
MOST_STATES = DENSE[-1].block_n
#: The most states of a channel that is sampled in the scan.
MOST_SAMPLED = SELECTIVE[-1].block_n


@scans.register("triton", summary="Triton kernels on the GPU, in single precision")
class TritonScan(ScanBackend):
    """Systems in float32, diagonal ones in complex64 too, on the GPU; the backward pass is exact.

    A bank of single-channel systems with real outputs (S4D) is fused: states are written at the
    borders of chunks of 64 steps only. For several channels all states are written; of the delta
    rule those before every 32nd step. Of a dense system, real and of at most 128 states, all are
    written too, by a kernel that keeps A; a dense bank of few channels goes in Toeplitz blocks,
    whose products are PyTorch's, with states at the starts of chunks only.
    Selective layers are sampled, scanned and read in one pass, with the states before every 16th
    step: real ones of at most 64 states, whose channels share the rows of B and C. So are discrete
    systems of which at least 4 heads share each row.

    Autocast is off inside, and u in half precision is widened by the system's own dtype: states are
    always float32 or complex64, and so is y. Gradients can be differentiated again, to any order; a
    fused bank and the delta rule have no derivatives in forward mode.

    For |a| > 1 it agrees with a sequential scan while neither |a|^64 (|a| < 4) nor a state
    overflows float32; beyond that it can give NaN where the sequential scan is finite.
    """

    preference = 30
    system_types = Scannable
    takes_shared_rows = True
    loops_where_varying = False

    def unsupported_reason(
        self, system: Scannable | SampledModes, device: torch.device
    ) -> str | None:
        """Why this backend cannot run ``system`` on ``device``, or None when it can."""
        if isinstance(system, TimeVaryingDelta) and system.states > MOST_KEYS:
            return f"it runs delta rules of at most {MOST_KEYS} keys, and this has {system.states}"
        if isinstance(system, DiscreteDense) and (reason := _dense_reason(system)):
            return reason
        states = system.state_dtype
        if states not in (torch.float32, torch.complex64):
            return f"its states are float32 or complex64, and this system's are {_name(states)}"
        return unusable_reason(device)

    def __call__(
        self,
        system: Scannable,
        u: Inexact[Tensor, "B L H m"],
        x0: Inexact[Tensor, "B H N"] | None = None,
    ) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
        """As ``ScanBackend.__call__``.

        Raises:
            UsageError: the backend is unable to run this, or u is in double precision.
        """
        reason = self.unsupported_reason(system, u.device)
        if reason is None and u.dtype in (torch.float64, torch.complex128):
            reason = f"its states are float32 or complex64, and u is {_name(u.dtype)}"
        if reason is not None:
            raise UsageError(f"scan 'triton' cannot run this: {reason}")
        from ssmbench.scans.triton import bank

        with torch.autocast(u.device.type, enabled=False):
            if isinstance(system, TimeVaryingDelta):
                from ssmbench.scans.triton.delta import scan_delta

                return scan_delta(system, u, x0)
            if isinstance(system, TimeVaryingDiagonal):
                # u is used twice: so its two gradients are summed before they are rounded.
                wide = u.to(torch.promote_types(u.dtype, torch.float32))
                if _has_groups(system) and _is_selective(system, wide):
                    from ssmbench.scans.triton.selective import scan_selective

                    return scan_selective(system, wide, x0)
                return time_varying_scan(system, wide, x0, self.linear_scan)
            if isinstance(system, DiscreteDense):
                from ssmbench.scans.triton.dense import scan_dense

                return scan_dense(system, u, x0)
            if bank.suits(system, u):
                return bank.bank_scan(system, u, x0)
            return _through_states(system, u, x0)

    def fuses(self, system: SampledModes, u: Tensor) -> bool:
        """Whether its channels share B and C, and it is real, in single precision and not large."""
        if self.unsupported_reason(system, u.device) is not None or u.numel() == 0:
            return False
        shared = system.B.shape[2] == system.C.shape[2] == 1
        return shared and _is_selective(system, u)

    def scan_sampled(
        self, system: SampledModes, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        from ssmbench.scans.triton.selective import scan_selective

        with torch.autocast(u.device.type, enabled=False):
            return scan_selective(system, u, x0)

    def linear_scan_unsupported_reason(self, b: Tensor) -> str | None:
        """Why :meth:`linear_scan` cannot run on b's device and dtype, or None when it can."""
        if b.dtype not in (torch.float32, torch.complex64, torch.bfloat16):
            return f"its states are float32 or complex64, and b is {_name(b.dtype)}"
        return unusable_reason(b.device)

    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """As ``ScanBackend.linear_scan``.

        Raises:
            UsageError: the kernels cannot run here.
        """
        reason = self.linear_scan_unsupported_reason(b)
        if reason is not None:
            raise UsageError(f"scan 'triton' cannot run this: {reason}")
        from ssmbench.scans.triton.linear_scan import linear_scan

        return linear_scan(a, b, x0, reverse=reverse)


def _has_groups(system: TimeVaryingDiagonal) -> bool:
    """Whether enough channels share rows to fill half a block of the selective kernels."""
    return 2 * system.heads >= SELECTIVE[0].block_p * system.lam.shape[2]


def _is_selective(system: SampledModes | TimeVaryingDiagonal, u: Tensor) -> bool:
    """Whether the selective kernels take it: real, in single precision and not large."""
    dtypes = {system.signal_dtype, torch.promote_types(u.dtype, torch.float32)}
    few = system.states <= MOST_SAMPLED and u.numel() > 0
    return few and dtypes == {torch.float32} and suits(system, u)


def _through_states(
    system: DiscreteDiagonal, u: Tensor, x0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Matrix products around a scan that writes the state before every input."""
    from ssmbench.scans.triton.linear_scan import states_before

    start = initial_state(system, u, x0)
    batch, length = u.shape[:2]
    drive = drive_states(system.B.to(start.dtype), u)
    lam = system.lam.to(start.dtype).reshape(-1)
    flat = drive.reshape(batch, length, lam.shape[0]), start.reshape(batch, lam.shape[0])
    states, final = states_before(lam, *flat)
    shape = system.heads, system.states
    return read_out(system, states.unflatten(-1, shape), u), final.unflatten(-1, shape)


def _dense_reason(system: DiscreteDense) -> str | None:
    if system.states > MOST_STATES:
        return (
            f"it runs dense systems of at most {MOST_STATES} states, and this has {system.states}"
        )
    if any(t.is_complex() for t in system.tensors().values()):
        return "it runs dense systems of real numbers, and this one is complex"
    return None


def unusable_reason(device: torch.device) -> str | None:
    """Why no kernel of Triton can be launched on the device, or None where one can."""
    if not _is_installed():
        return "the package triton is not installed"
    if device.type == "cuda" or (device.type == "cpu" and _interpreted()):
        return None
    return f"it needs a CUDA device, and this is {device.type!r}"


def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


# As in native/library.py: PyTorch 2.11 does not trace find_spec, and would end a graph there.
vars(_is_installed)["_dynamo_marked_constant"] = True


def _interpreted() -> bool:
    if "TRITON_INTERPRET" not in os.environ:
        return False  # the usual case on a CPU: answer without importing Triton
    from ssmbench.scans.triton.kernels import INTERPRETED

    return INTERPRETED


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
