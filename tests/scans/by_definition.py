"""What the scans compute, by its definition: one loop over time, in double precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench.systems import TimeVaryingDiagonal


def states(step: Callable[[int, Tensor], Tensor], drive: Tensor, x0: Tensor) -> Tensor:
    """x[0..L] (B, L + 1, ...) with ``x[k+1] = step(k, x[k]) + drive[:, k]`` and ``x[0] = x0``."""
    found = [x0]
    for k, b in enumerate(drive.unbind(1)):
        found.append(step(k, found[-1]) + b)
    return torch.stack(found, 1)


def wide(tensor: Tensor) -> Tensor:
    """In float64 or complex128."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float64))


def with_start(a: Tensor, b: Tensor, x0: Tensor, reverse: bool = False) -> Tensor:
    """s (B, L + 1, N): :func:`linear_scan`, and x0 before the first step (last in reverse)."""
    a, b, x0 = wide(a), wide(b), wide(x0)
    if reverse:
        return with_start(a.flip(1) if a.ndim == 3 else a, b.flip(1), x0).flip(1)
    return states(lambda k, x: (a[:, k] if a.ndim == 3 else a) * x, b, x0)


def linear_scan(a: Tensor, b: Tensor, x0: Tensor, reverse: bool = False) -> Tensor:
    """``s[k] = a s[k-1] + b[k]`` (B, L, N), or in reverse ``s[k] = a[k] s[k+1] + b[k]``.

    a is (N,), or (B, L, N) where it varies with time.
    """
    found = with_start(a, b, x0, reverse)
    return found[:, :-1] if reverse else found[:, 1:]


def fused_layer(
    u: Tensor, lam: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A bank of single-channel systems: u (B, L, H); lam, B, C (H, N); D (H); x0 (B, H, N)."""
    start = torch.zeros(u.shape[0], *lam.shape, dtype=lam.dtype) if x0 is None else x0
    x = states(lambda _, state: lam * state, B * u[..., None], start)
    return (C * x[:, :-1]).sum(-1).real + D * u, x[:, -1]


def dense_layer(
    u: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, x0: Tensor
) -> tuple[Tensor, Tensor]:
    """One system with matrices (N, N), (N, m), (p, N), (p, m); u (B, L, m), x0 (B, N)."""
    x = states(lambda _, state: state @ A.T, u @ B.T, x0)
    return x[:, :-1] @ C.T + u @ D.T, x[:, -1]


def time_varying(system: TimeVaryingDiagonal, u: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """A system that varies with time, in complex128: u (B, L, H, m), x0 (B, H, N)."""
    system = system.map(lambda t: t.to(torch.complex128))
    u, x0 = u.to(torch.complex128), x0.to(torch.complex128)
    x = states(lambda k, state: system.lam[:, k] * state, _product(system.B, u), x0)
    y = _product(system.C, x[:, :-1])
    y = 2 * y.real if system.conjugate else y
    return y + _product(system.D, u), x[:, -1]


def _product(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(.., i, j) times (.., j)."""
    return (matrices @ vectors[..., None])[..., 0]


def delta_layer(
    u: Tensor, key: Tensor, query: Tensor, decay: Tensor, gates: Tensor, x0: Tensor
) -> tuple[Tensor, Tensor]:
    """By the matrices of each step: u (B, L, G, P), key and query (B, L, G, N), x0 (B, G, N, P);
    ``gates`` (B, L, G, 4) are forget, write, erase and read."""
    forget, write, erase, read = gates[..., None, None].unbind(-3)
    one = torch.eye(key.shape[-1], dtype=key.dtype)
    k, q = key[..., None], query[..., None]
    held = (one - forget * k * key[..., None, :]) * decay[..., None, :]
    kept = one - erase * q * query[..., None, :]
    x = states(lambda t, X: (kept @ held)[:, t] @ X, kept @ (write * k) * u[..., None, :], x0)
    through = read * (q.mT @ held @ x[:, :-1] + (q.mT @ k) * write * u[..., None, :])
    return through[..., 0, :], x[:, -1]
