"""The tables that the kernels of a bank multiply with, as one differentiable operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Complex64, Float32
from torch import Tensor

from ssmbench.linalg.powers import power_table
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge
from ssmbench.scans.triton.bank_operator import no_jvp
from ssmbench.scans.triton.blocks import BankBlocks, bank_blocks, launch_options
from ssmbench.scans.triton.launch import kernel_view

#: States of a tile, each with 64 powers in double precision: 8 of them a thread.
TILE = 16


class Tables(NamedTuple):
    """Of each head and N states, for chunks of T steps."""

    lam_chunk: Complex[Tensor, "H N"]  #: lam^T, complex128
    read_in: Float32[Tensor, "H T 2 N"]  #: lam^(T-1-t) B, its real and imaginary part
    toeplitz: Float32[Tensor, "H T T"]  #: [input, output]: D and the Markov parameters
    read_out: Float32[Tensor, "H 2 N T"]  #: C lam^t, its real and minus its imaginary part


def bank_tables(
    lam: Complex64[Tensor, "H n"],
    B: Complex64[Tensor, "H n"],
    C: Complex64[Tensor, "H n"],
    D: Float32[Tensor, " H"],
    factor: int,
    direct: bool,
) -> Tables:
    """The tables of a bank with y = Re(factor C x) + D u, without D unless ``direct``.

    N is the width of the kernels for n states, with zeros beyond n. In double precision, rounded
    once: the error of lam^t would grow with t.
    """
    return Tables(*_tables(lam, B, C, D, factor, direct))


def constants(blocks: BankBlocks) -> dict[str, int]:
    """The kernels' compile-time parameters."""
    bits = blocks.block_t.bit_length() - 1
    tile = min(TILE, blocks.block_n)
    return {"BLOCK_T": blocks.block_t, "BLOCK_N": blocks.block_n, "TILE": tile, "BITS": bits}


def options() -> dict[str, int | bool]:
    """The compiler's options."""
    return launch_options(4, 1, 255)


# --- kernels ------------------------------------------------------------------------------------


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import table_kernel

    return table_kernel


def _run(
    lam: Tensor, B: Tensor, C: Tensor, D: Tensor, factor: int, direct: bool
) -> tuple[Tensor, ...]:
    found = _shapes(lam, B, C, D, factor, direct)
    pointers = map(kernel_view, (lam, B, C, D, *found))
    _launch(_kernels().bank_tables_kernel, pointers, lam, factor, direct)
    return found


def _run_backward(
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    dchunk: Tensor,
    dread_in: Tensor,
    dtoeplitz: Tensor,
    dread_out: Tensor,
    factor: int,
    direct: bool,
) -> tuple[Tensor, ...]:
    found = _gradients(lam, B, C, dchunk)
    pointers = map(kernel_view, (lam, B, C, dchunk, dread_in, dtoeplitz, dread_out, *found))
    _launch(_kernels().bank_tables_backward_kernel, pointers, lam, factor, direct)
    return found


def _launch(kernel: Any, pointers: Any, lam: Tensor, factor: int, direct: bool) -> None:
    heads, states = lam.shape
    with torch.cuda.device_of(lam):
        kernel[(heads,)](
            *pointers,
            *(states, factor, int(direct)),
            **constants(bank_blocks(states)),
            **options(),
        )


def _shapes(
    lam: Tensor, B: Tensor, C: Tensor, D: Tensor, factor: int, direct: bool
) -> tuple[Tensor, ...]:
    heads, blocks = lam.shape[0], bank_blocks(lam.shape[1])
    steps, states = blocks.block_t, blocks.block_n
    return (
        lam.new_empty((heads, states), dtype=torch.complex128),
        D.new_empty((heads, steps, 2, states)),
        D.new_empty((heads, steps, steps)),
        D.new_empty((heads, 2, states, steps)),
    )


def _gradients(lam: Tensor, B: Tensor, C: Tensor, dchunk: Tensor, *_: Any) -> tuple[Tensor, ...]:
    like = tuple(x.new_empty(x.shape) for x in (lam, B, C))
    return *like, lam.new_empty(lam.shape[0], dtype=torch.float32)


# --- the definition -----------------------------------------------------------------------------


def _definition(
    lam: Tensor, B: Tensor, C: Tensor, D: Tensor, factor: int, direct: bool
) -> tuple[Tensor, ...]:
    """What the kernels compute, of differentiable operations."""
    blocks = bank_blocks(lam.shape[1])
    beyond = 0, blocks.block_n - lam.shape[1]
    lam, B, C = (torch.nn.functional.pad(x.to(torch.complex128), beyond) for x in (lam, B, C))
    C = factor * C
    steps = power_table(lam, blocks.block_t + 1)
    weights = torch.einsum("thn,hn->htn", steps[:-1].flip(0), B)
    read_in = torch.stack([weights.real, weights.imag], 2)
    readout = torch.einsum("thn,hn->hnt", steps[:-1], C)
    read_out = torch.stack([readout.real, -readout.imag], 1)
    markov = torch.einsum("thn,hn,hn->ht", steps[:-2], C, B).real
    kernel = torch.cat([int(direct) * D[:, None].double(), markov], -1)
    return steps[-1], read_in.float(), _toeplitz(kernel).float(), read_out.float()


def _toeplitz(kernel: Tensor) -> Tensor:
    """(H, T, T) with kernel[h, i - j] at [h, j, i], zero where i < j."""
    length = kernel.shape[-1]
    return torch.nn.functional.pad(kernel, (length - 1, 0)).unfold(-1, length, 1).flip(-2)


def _adjoint(
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    dchunk: Tensor,
    dread_in: Tensor,
    dtoeplitz: Tensor,
    dread_out: Tensor,
    factor: int,
    direct: bool,
) -> tuple[Tensor, ...]:
    D = torch.zeros_like(lam[:, 0].real)  # its value is in no gradient

    def of_tensors(lam: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, ...]:
        return _definition(lam, B, C, D, factor, direct)

    pull = torch.func.vjp(of_tensors, lam, B, C, D)[1]
    return pull((dchunk, dread_in, dtoeplitz, dread_out))


# --- the operators ------------------------------------------------------------------------------


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    *tensors, factor, direct = saved
    dchunk, *rest = cotangents
    wide = dchunk.to(torch.complex128)
    return *_tables_backward(*tensors, wide, *rest, factor, direct), None, None


_tables = define(
    "triton_bank_tables(Tensor lam, Tensor B, Tensor C, Tensor D, int factor, bool direct)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _run,
    _shapes,
)
_tables_backward = define(
    "triton_bank_tables_backward(Tensor lam, Tensor B, Tensor C, Tensor dchunk, Tensor dread_in, "
    "Tensor dtoeplitz, Tensor dread_out, int factor, bool direct)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    _gradients,
)
differentiate(_tables, _backward, no_jvp, lambda inputs, _: (*inputs[:3], *inputs[4:]))
differentiate_backward(_tables_backward, _adjoint, no_jvp)


def _map(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Heads side by side."""
    return merge(_tables, info, mapped, inputs, (0, 0, 0, 0, None, None), (0, 0, 0, 0))


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    axes = (0, 0, 0, 0, 0, 0, 0, None, None)
    return merge(_tables_backward, info, mapped, inputs, axes, (0, 0, 0, 0))


torch.library.register_vmap(_tables, _map)
torch.library.register_vmap(_tables_backward, _map_backward)
