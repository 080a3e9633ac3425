"""A bank of single-channel diagonal systems over the fused kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.linalg.powers import power_table
from ssmbench.scans.base import state_dtype
from ssmbench.scans.triton.bank_operator import KERNEL_DTYPES, bank_rows
from ssmbench.scans.triton.blocks import BankBlocks, bank_blocks
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
    signal = u[..., 0] if len(groups) == 1 and u.dtype in KERNEL_DTYPES else u[..., 0].float()
    parts = [_scan_group(system, signal, x0, at) for at in groups]
    y = parts[0][0]
    for more, _ in parts[1:]:
        y = y + more
    return y[..., None], torch.cat([final for _, final in parts], -1)


def _scan_group(
    system: DiscreteDiagonal, u: Tensor, x0: Tensor | None, at: int
) -> tuple[Tensor, Tensor]:
    """y (B, L, H) and the final state of the group of states that begins with ``at``."""
    blocks = bank_blocks(system.states)
    group = slice(at, at + blocks.block_n)
    width = system.lam[:, group].shape[1]
    tables = _tables(system, group, blocks, with_direct=at == 0)
    in_first = u.shape[1] - (-(-u.shape[1] // blocks.block_t) - 1) * blocks.block_t
    start, head = None, None
    if x0 is not None:
        wide = torch.nn.functional.pad(x0[..., group], (0, blocks.block_n - width))
        wide = wide.to(torch.complex64)  # (B, H, N)
        start = tables.power(in_first).to(wide.dtype) * wide
        parts = torch.view_as_real(wide)  # (B, H, N, 2)
        head = torch.einsum("hznt,bhnz->bth", tables.read_out[..., :in_first], parts)
    y, final = bank_rows(u, start, *tables.tensors(), blocks)
    if head is not None:
        y = y + torch.nn.functional.pad(head, (0, 0, 0, u.shape[1] - in_first))
    final = final[..., :width]
    return y, final if state_dtype(system, u).is_complex else final.real


# --- tables -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tables:
    """What the kernels multiply with; functions of the system, differentiable by autograd."""

    all_powers: Tensor  # (T + 1, H, N) in complex128
    read_in: Tensor  # (H, T, 2, N)
    toeplitz: Tensor  # (H, T, T), [input, output]
    read_out: Tensor  # (H, 2, N, T)

    def power(self, exponent: int) -> Tensor:
        """lam^exponent (H, N), complex128."""
        return self.all_powers[exponent]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.all_powers[-1], self.read_in, self.toeplitz, self.read_out


def _tables(
    system: DiscreteDiagonal, group: slice, blocks: BankBlocks, with_direct: bool
) -> _Tables:
    """In double precision, rounded once: the error of lam^t would grow with t."""
    lam, B, C = (_pad(t, group, blocks) for t in (system.lam, system.B[..., 0], system.C[:, 0]))
    C = 2 * C if system.conjugate else C
    steps = power_table(lam, blocks.block_t + 1)
    weights = torch.einsum("thn,hn->htn", steps[:-1].flip(0), B)
    read_in = torch.stack([weights.real, weights.imag], 2)
    readout = torch.einsum("thn,hn->hnt", steps[:-1], C)
    read_out = torch.stack([readout.real, -readout.imag], 1)
    markov = torch.einsum("thn,hn,hn->ht", steps[:-2], C, B).real
    direct = system.D[:, 0].double() if with_direct else torch.zeros_like(markov[:, :1])
    kernel = torch.cat([direct, markov], -1)
    return _Tables(steps, read_in.float(), _toeplitz(kernel).float(), read_out.float())


def _pad(values: Tensor, group: slice, blocks: BankBlocks) -> Tensor:
    """Columns of the group in complex128, zeros where it has fewer than the kernel."""
    values = values[:, group].to(torch.complex128)
    return torch.nn.functional.pad(values, (0, blocks.block_n - values.shape[1]))


def _toeplitz(kernel: Tensor) -> Tensor:
    """(H, T, T) with kernel[h, i - j] at [h, j, i], zero where i < j."""
    length = kernel.shape[-1]
    return torch.nn.functional.pad(kernel, (length - 1, 0)).unfold(-1, length, 1).flip(-2)
