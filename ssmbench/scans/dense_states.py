"""The states of ``x[k+1] = A x[k] + b[k]`` for dense A, in chunks of chunks, in plain torch.

With chunks of T = 8 steps, the states at the ends of chunks obey the same recurrence, with A^T for
A and the response from zero of each chunk for b: they are found in the same way, 1/T as many of
them, and then the states within all chunks side by side. At every level a step is one product with
a matrix, so that there are 2 T products and T copies a level, log L / log T levels, and about
2 N^2 multiply-adds a step of the signal: as many as with one product with a table of powers, but no
table. (Blelloch 1990, Prefix sums and their applications, section 1.4, on pairs of matrix and
vector, with all matrices of a level equal.)

States at the ends of chunks are carried in double precision: their rounding errors would add up
over the memory of slow modes. Powers of A are formed by squaring in double precision. A level
whose power is near overflow, where A is unstable, is not entered: 0 * inf would make NaN where
a step-by-step scan is finite. The last level goes step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.linalg.precision import to_double
from ssmbench.scans.operators import define, differentiate, merge, one_by_one

#: T is 2^3: a level squares the matrix three times. Of 2 to 32 the one with the fewest operations.
_SQUARINGS = 3
_CHUNK = 2**_SQUARINGS


def _run(A: Tensor, drive: Tensor, start: Tensor, reverse: bool) -> Tensor:
    if drive.numel() == 0:
        return start[:, None].expand(_shape(drive)).clone()
    powers = chunk_powers(A, drive.shape[1], drive.dtype)
    return _scan([power.mT for power in powers], drive, start, reverse)


def _shape(drive: Tensor) -> tuple[int, ...]:
    groups, steps, *signal = drive.shape
    return groups, steps + 1, *signal


def chunk_powers(
    A: Inexact[Tensor, "M N N"], steps: int, dtype: torch.dtype
) -> list[Inexact[Tensor, "M N N"]]:
    """A in ``dtype``, then A^T, A^(T^2), ... in double precision: for the levels of ``steps``.

    Powers of which an entry exceeds the square root of the largest number are left out.
    """
    powers = [to_double(A)]
    while steps > _CHUNK:
        power, steps = powers[-1], steps // _CHUNK
        for _ in range(_SQUARINGS):
            power = power @ power
        powers.append(power)
    limit = math.sqrt(torch.finfo(powers[0].dtype).max)
    sizes = torch.stack([power.abs().amax() for power in powers[1:]] or [A.new_zeros(()).abs()])
    fitting = [size < limit for size in sizes.tolist()]  # not where a power is NaN
    count = fitting.index(False) if False in fitting else len(powers) - 1
    return [A.to(dtype), *powers[1 : 1 + count]]


def _scan(matrices: Sequence[Tensor], drive: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """The states, by transposed ``matrices`` of this level and of those above."""
    groups, steps, signals, _ = drive.shape
    chunk = _CHUNK if len(matrices) > 1 else steps + 1
    A = matrices[0].expand(groups, -1, -1)
    lanes = [_every(drive, chunk, j, reverse).flatten(1, 2) for j in range(min(chunk, steps))]
    state = start[:, None]
    if whole := steps // chunk:
        ends = _responses(A, lanes, whole * signals, reverse).unflatten(1, (whole, signals))
        wide = matrices[1].dtype
        state = _scan(matrices[1:], ends.to(wide), start.to(wide), reverse).to(drive.dtype)
    state = state.flatten(1, 2)
    out = drive.new_empty(_shape(drive))
    for j in range(min(chunk, steps + 1)):
        if j:
            drives = lanes[j - 1]
            state = torch.baddbmm(drives, _first(state, drives.shape[1], reverse), A)
        _every(out, chunk, j, reverse).copy_(state.unflatten(1, (-1, signals)))
    return out


def _responses(A: Tensor, lanes: Sequence[Tensor], rows: int, reverse: bool) -> Tensor:
    """States at the ends of whole chunks, from zero."""
    state = _first(lanes[0], rows, reverse)
    for drives in lanes[1:]:
        state = torch.baddbmm(_first(drives, rows, reverse), state, A)
    return state


def _every(signal: Tensor, chunk: int, j: int, reverse: bool) -> Tensor:
    """Step j of each chunk; in reverse chunks and steps are counted from the end."""
    first = (signal.shape[1] - 1 - j) % chunk if reverse else j
    return signal[:, first::chunk]


def _first(rows: Tensor, count: int, reverse: bool) -> Tensor:
    """The first rows, the way the scan runs."""
    return rows[:, rows.shape[1] - count :] if reverse else rows[:, :count]


# --- the operator -------------------------------------------------------------------------------


class DenseStates(Protocol):
    """States of dense systems, by some kernel."""

    def __call__(
        self,
        A: Inexact[Tensor, "M N N"],
        drive: Inexact[Tensor, "G L R N"],
        start: Inexact[Tensor, "G R N"],
        *,
        reverse: bool = False,
    ) -> Inexact[Tensor, "G L_and_1 R N"]:
        """``x[0] = start``, ``x[k+1] = A x[k] + drive[k]``: x[0] to x[L], for G times R signals.

        There is one A for each of the G, or one for all (M = 1); R signals share theirs. In reverse
        ``x[L] = start`` and ``x[k] = A x[k+1] + drive[k]``. All of one dtype, real or complex.
        Differentiable to any order, in forward mode and under ``torch.func`` too.
        """
        ...


def define_states(name: str, run: Callable[[Tensor, Tensor, Tensor, bool], Tensor]) -> DenseStates:
    """The operator ``name``, of which ``run`` is the kernel, forward and backward."""
    operator = define(
        f"{name}(Tensor A, Tensor drive, Tensor start, bool reverse) -> Tensor",
        run,
        lambda A, drive, start, reverse: drive.new_empty(_shape(drive)),
        reads_values=True,  # whether powers of A overflow
    )

    def scan(A: Tensor, drive: Tensor, start: Tensor, *, reverse: bool = False) -> Tensor:
        return operator(A, drive, start, reverse)

    def backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
        return *_adjoint(scan, needs[0], *saved, *cotangents), None

    def jvp(saved: tuple, tangents: tuple) -> tuple[Tensor]:
        A, states, reverse = saved
        tA, tdrive, tstart = tangents
        before = _after(states, not reverse)
        return (scan(A, tdrive + before @ tA.mT[:, None], tstart, reverse=reverse),)

    def vmap(info: Any, mapped: tuple, *inputs: Any) -> tuple:
        """More signals for each A, or one by one where the matrices differ."""
        if mapped[0] is None:
            return merge(operator, info, mapped, inputs, (None, 2, 1, None), (2,))
        (stacked,), (dim,) = one_by_one(lambda *one: (operator(*one),), info, mapped, inputs)
        return stacked, dim

    differentiate(operator, backward, jvp, lambda inputs, out: (inputs[0], *out, inputs[3]))
    torch.library.register_vmap(operator, vmap)
    return scan


def _adjoint(
    scan: DenseStates, with_dA: bool, A: Tensor, states: Tensor, reverse: bool, dstates: Tensor
) -> tuple[Tensor | None, Tensor, Tensor]:
    """``g = A^H g' + dx``, the other way: g' is the gradient of the drive between the two."""
    drive, end = _after(dstates, not reverse), dstates[:, 0 if reverse else -1]
    costates = scan(A.mH, drive, end, reverse=not reverse)
    ddrive, dstart = _after(costates, reverse), costates[:, -1 if reverse else 0]
    dA = _outer(ddrive, _after(states, not reverse), A) if with_dA else None
    return dA, ddrive, dstart


def _after(states: Tensor, reverse: bool) -> Tensor:
    """The state that each step leads to."""
    return states[:, :-1] if reverse else states[:, 1:]


def _outer(g: Tensor, x: Tensor, A: Tensor) -> Tensor:
    """The sum of ``g x^H`` over steps and signals; over groups too where all share A."""
    rows = (len(g), g.shape[1] * g.shape[2], g.shape[3])  # the older vmap knows no flatten
    dA = g.reshape(rows).mT @ x.reshape(rows).conj()
    return dA if len(A) == len(dA) else dA.sum(0, keepdim=True)


dense_states = define_states("dense_states", _run)
