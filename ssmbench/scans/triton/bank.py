"""A bank of single-channel diagonal systems over the fused kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.linalg.powers import power
from ssmbench.scans.base import state_dtype
from ssmbench.scans.triton.bank_operator import KERNEL_DTYPES, bank_rows
from ssmbench.scans.triton.blocks import bank_blocks
from ssmbench.scans.triton.tables import bank_tables
from ssmbench.systems import DiscreteDiagonal, DiscreteSystem


def suits(system: DiscreteSystem, u: Tensor) -> bool:
    """Whether this is a bank of single-channel diagonal systems with real inputs and outputs.

    And whether there is anything to scan.
    """
    if not isinstance(system, DiscreteDiagonal) or system.inputs != 1 or system.outputs != 1:
        return False
    if u.numel() == 0 or system.states == 0:
        return False
    complex_modes = any(t.is_complex() for t in (system.lam, system.B, system.C))
    real_output = system.conjugate or not complex_modes
    return real_output and not system.D.is_complex() and not u.is_complex()


def bank_scan(
    system: DiscreteDiagonal,
    u: Float[Tensor, "B L H 1"],
    x0: Inexact[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Inexact[Tensor, "B H N"]]:
    """Outputs and final state as ``ScanBackend.__call__``, for a system that ``suits``.

    Float32 and complex64, u in any real dtype; the gradient of u is in its own. States are written
    at the borders of chunks only. A real system takes the complex kernels with imaginary parts of
    zero. More than 64 states per head are taken in groups, whose outputs add up.
    """
    groups = range(0, system.states, bank_blocks(system.states).block_n)
    # The kernels take half precision; the gradients of several groups are added before rounding.
    signal = u.squeeze(-1)  # its derivative is a view, that of an index a tensor of zeros
    if len(groups) > 1 or u.dtype not in KERNEL_DTYPES:
        signal = signal.float()
    parts = [_scan_group(system, signal, x0, at) for at in groups]
    y = parts[0][0]
    for more, _ in parts[1:]:
        y = y + more
    return y[..., None], torch.cat([final for _, final in parts], -1)


def _scan_group(
    system: DiscreteDiagonal, u: Tensor, x0: Tensor | None, at: int
) -> tuple[Tensor, Tensor]:
    """y (B, L, H) and the final state of the group of states that begins with ``at``."""
    lam, B, C = _group(system, at)
    width, blocks = lam.shape[1], bank_blocks(lam.shape[1])
    factor = 2 if system.conjugate else 1
    tables = bank_tables(lam, B, C, system.D.flatten().float(), factor, at == 0)
    in_first = u.shape[1] - (-(-u.shape[1] // blocks.block_t) - 1) * blocks.block_t
    start, head = None, None
    if x0 is not None:
        wide = x0[..., at : at + width].to(torch.complex64)
        beyond = 0, blocks.block_n - width
        parts = torch.view_as_real(torch.nn.functional.pad(wide, beyond))  # (B, H, N, 2)
        head = torch.einsum("hznt,bhnz->bth", tables.read_out[..., :in_first], parts)
        start = power(lam.to(torch.complex128), in_first).to(wide.dtype) * wide
        start = torch.nn.functional.pad(start, beyond)
    y, final = bank_rows(u, start, *tables, blocks)
    if head is not None:
        y = y + torch.nn.functional.pad(head, (0, 0, 0, u.shape[1] - in_first))
    final = final if width == blocks.block_n else final[..., :width]
    return y, final if state_dtype(system, u).is_complex else final.real


def _group(system: DiscreteDiagonal, at: int) -> tuple[Tensor, Tensor, Tensor]:
    """lam, B and C (H, n) of the states of a group, complex64."""
    # (The derivative of squeeze is a view, that of an index a tensor of zeros.)
    tensors = (system.lam, system.B.squeeze(-1), system.C.squeeze(1))
    width = bank_blocks(system.states).block_n
    if system.states > width:
        tensors = (t[:, at : at + width] for t in tensors)
    lam, B, C = (t.to(torch.complex64) for t in tensors)
    return lam, B, C
