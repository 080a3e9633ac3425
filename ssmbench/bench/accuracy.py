"""Errors of every scan relative to complex128, compared with those of a plain float32 loop.

The exact values and the float32 ones come from the same NumPy loop, one step at a time, so that no
backend is compared with itself. The signal and the weights of the outputs in the loss are random:
with constant ones the float32 loop rounds the same way at every step, and its error is up to a
thousand times larger. The loop's sums over time, in the gradients, are in double precision, so that
only the recurrence itself is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmbench.linalg.precision import to_double
from ssmbench.scans.base import (
    ScanBackend,
    drive_states,
    ranked_backends,
    read_out,
    scan_through_states,
)
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI

#: Longest sequence for backends that run a time-varying recurrence in a loop over steps.
LONGEST_LOOP_IN_TORCH = 2**14
#: Largest allowed ratio of an error to that of the loop.
ALLOWED = 3.0
#: Four roundings of float32: smaller errors of the loop count as this in the ratio.
FLOOR = 4 * 2.0**-24
_STATES = 16


@dataclass(frozen=True)
class Case:
    """An operation on one sequence, with ``leaves`` (the tensors with gradients) in float32.

    ``run`` uses a backend; ``loop`` uses the NumPy loop, in the precision of the leaves.
    ``unsupported`` gives the reason why a backend cannot run the operation, or None.
    ``varies``: the recurrence is time-varying.
    """

    operation: str
    leaves: Mapping[str, Tensor]
    run: Callable[[ScanBackend, Mapping[str, Tensor]], Tensor]
    loop: Callable[[Mapping[str, Tensor]], Tensor]
    unsupported: Callable[[ScanBackend], str | None]
    varies: bool = False


@dataclass(frozen=True)
class Accuracy:
    """Largest error divided by largest value, of y and of each gradient.

    ``ratios``: the errors divided by those of the float32 loop.
    """

    operation: str
    backend: str
    length: int
    errors: dict[str, float]
    loop_errors: dict[str, float]

    @property
    def ratios(self) -> dict[str, float]:
        return {k: error / max(self.loop_errors[k], FLOOR) for k, error in self.errors.items()}

    @property
    def worst(self) -> float:
        return max(self.ratios.values())


def measure(length: int, gap: float, seed: int = 0) -> Iterator[Accuracy]:
    """Every operation and backend over ``length`` steps; the largest pole modulus is 1 - gap."""
    linear = (_linear(complex_, varies) for varies in (False, True) for complex_ in (False, True))
    for make in (_bank, _multichannel, _dense, *linear):
        yield from compare(make(length, gap, torch.Generator().manual_seed(seed)), length)


def compare(case: Case, length: int) -> Iterator[Accuracy]:
    """One operation with every backend that can run it in reasonable time."""
    wide = {k: to_double(v) for k, v in case.leaves.items()}
    exact = _values(case.loop, wide, length)
    loop = _errors(_values(case.loop, case.leaves, length), exact)
    for name, backend in sorted(ranked_backends().items()):
        loops = case.varies and backend.loops_where_varying
        if case.unsupported(backend) or (loops and length > LONGEST_LOOP_IN_TORCH):
            continue
        found = _values(lambda leaves, b=backend: case.run(b, leaves), case.leaves, length)
        yield Accuracy(case.operation, name, length, _errors(found, exact), loop)


def _values(
    run: Callable[[Mapping[str, Tensor]], Tensor], leaves: Mapping[str, Tensor], length: int
) -> dict[str, Tensor]:
    leaves = {k: v.detach().clone().requires_grad_() for k, v in leaves.items()}
    y = run(leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(length)).to(y.dtype)
    gradients = torch.autograd.grad((y * weight).real.sum(), list(leaves.values()))
    return {"y": y.detach(), **{f"d{k}": g for k, g in zip(leaves, gradients, strict=True)}}


def _errors(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    return {k: ((found[k] - v).abs().max() / v.abs().max()).item() for k, v in exact.items()}


# --- the loop -----------------------------------------------------------------------------------


class _Loop(torch.autograd.Function):
    """s[k] = a s[k-1] + b[k] from zero, in the precision of b; a (N,), (1, L, N) or (N, N)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        s = torch.from_numpy(_recur(a.numpy(), b.numpy()))
        ctx.save_for_backward(a, s)
        return s

    @staticmethod
    def backward(ctx: Any, ds: Tensor) -> tuple[Tensor, Tensor]:
        a, s = ctx.saved_tensors
        adjoint = a.conj().resolve_conj()
        if a.ndim == 3:  # g[k] = ds[k] + conj(a[k+1]) g[k+1]
            adjoint = adjoint.roll(-1, 1).flip(1)
        g = _recur((adjoint.mT if a.ndim == 2 else adjoint).numpy(), ds.flip(1).numpy())
        g = torch.from_numpy(g).flip(1)
        before = torch.nn.functional.pad(s, (0, 0, 1, 0))[:, :-1].conj()
        if a.ndim == 3:
            return g * before, g
        sums = "bli,blj->ij" if a.ndim == 2 else "bli,bli->i"
        return torch.einsum(sums, to_double(g), to_double(before)).to(a.dtype), g


def _recur(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """States (1, L, N), computed step by step."""
    s, state = np.empty_like(b), np.zeros_like(b[:, 0])
    for k in range(b.shape[1]):
        factor = a[:, k] if a.ndim == 3 else a
        state = (state @ factor.T if a.ndim == 2 else factor * state) + b[:, k]
        s[:, k] = state
    return s


def _loop_scan(a: Tensor, b: Tensor, x0: Tensor) -> Tensor:
    return _Loop.apply(a, b)  # x0 is zero in every case


def _loop_system(system: DiscreteLTI, u: Tensor) -> Tensor:
    if isinstance(system, DiscreteDiagonal):
        return scan_through_states(system, u, None, _loop_scan)[0]
    after = _Loop.apply(system.A[0], drive_states(system.B, u)[:, :, 0])
    before = torch.nn.functional.pad(after, (0, 0, 1, 0))[:, :-1]
    return read_out(system, before[:, :, None], u)


# --- cases --------------------------------------------------------------------------------------


def _moduli(gap: float, count: int, generator: torch.Generator) -> Tensor:
    """Between 1 - 100 gap and 1 - gap, log-uniform in 1 - modulus; the first is 1 - gap."""
    spread = torch.rand(count, generator=generator)
    spread[0] = 0
    return 1 - gap * 100**spread


def _poles(gap: float, count: int, generator: torch.Generator) -> Tensor:
    angle = torch.pi * torch.rand(count, generator=generator)
    return torch.polar(_moduli(gap, count, generator), angle)


def _bank(length: int, gap: float, generator: torch.Generator) -> Case:
    heads, states = _STATES // 2, 2
    lam = _poles(gap, heads * states, generator).reshape(heads, states)
    return _diagonal("fused diagonal layer, single-channel bank", lam, 1, length, generator)


def _multichannel(length: int, gap: float, generator: torch.Generator) -> Case:
    lam = _poles(gap, _STATES, generator)[None]
    return _diagonal("fused diagonal layer, multi-channel", lam, 4, length, generator)


def _diagonal(
    operation: str, lam: Tensor, channels: int, length: int, generator: torch.Generator
) -> Case:
    heads, states = lam.shape

    def random(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    leaves = {
        "lam": lam,
        "B": random(heads, states, channels, dtype=torch.complex64),
        "C": random(heads, channels, states, dtype=torch.complex64),
        "D": random(heads, channels, channels, dtype=torch.float32),
        "u": random(1, length, heads, channels, dtype=torch.float32),
    }

    def system(leaves: Mapping[str, Tensor]) -> DiscreteDiagonal:
        return DiscreteDiagonal(**{k: leaves[k] for k in ("lam", "B", "C", "D")}, conjugate=True)

    return _system_case(operation, leaves, system)


def _dense(length: int, gap: float, generator: torch.Generator) -> Case:
    """A dense layer whose A is normal with these poles."""
    pairs = torch.view_as_real(_poles(gap, _STATES // 2, generator))
    rotations = [torch.tensor([[re, -im], [im, re]]) for re, im in pairs.tolist()]
    random = torch.randn(4, _STATES, _STATES, generator=generator)
    basis = torch.linalg.qr(random[0]).Q
    A = basis @ torch.block_diag(*rotations) @ basis.T
    matrices = {"A": A[None], "B": random[1:2], "C": random[2:3], "D": random[3:4]}
    u = torch.randn(1, length, 1, _STATES, generator=generator)

    def system(leaves: Mapping[str, Tensor]) -> DiscreteDense:
        return DiscreteDense(A=leaves["A"], B=leaves["B"], C=leaves["C"], D=leaves["D"])

    return _system_case("dense layer", {**matrices, "u": u}, system)


def _system_case(
    operation: str, leaves: Mapping[str, Tensor], system: Callable[..., DiscreteLTI]
) -> Case:
    return Case(
        operation,
        leaves,
        run=lambda scan, leaves: scan(system(leaves), leaves["u"], None)[0],
        loop=lambda leaves: _loop_system(system(leaves), leaves["u"]),
        unsupported=lambda scan: scan.refusal(system(leaves), leaves["u"].device),
    )


def _linear(complex_: bool, varies: bool) -> Callable[[int, float, torch.Generator], Case]:
    def make(length: int, gap: float, generator: torch.Generator) -> Case:
        a = (_poles if complex_ else _moduli)(gap, _STATES, generator)
        if varies:  # a gate between 1 - gap and 1
            gate = 1 - gap * torch.rand(1, length, _STATES, generator=generator)
            a = a * gate
        b = torch.randn(1, length, _STATES, generator=generator, dtype=a.dtype)
        kind = "complex" if complex_ else "real"
        operation = f"linear scan, {kind}, {'varying' if varies else 'constant'}"
        return Case(
            operation,
            {"a": a, "b": b},
            run=lambda scan, leaves: scan.linear_scan(leaves["a"], leaves["b"]),
            loop=lambda leaves: _Loop.apply(leaves["a"], leaves["b"]),
            unsupported=lambda scan: scan.linear_scan_unsupported_reason(b),
            varies=varies,
        )

    return make
