"""Derivatives of ``s[k] = a s[k-1] + b[k]``, by the same scan; a is (N,), or (B, L, N).

In reverse ``s[k] = a[k] s[k+1] + b[k]``. ``before`` are the states before each step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.scans.base import LinearScan


def shifted(s: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """The values one step earlier in the direction of the scan; ``start`` at the first step."""
    parts = [s[:, 1:], start[:, None]] if reverse else [start[:, None], s[:, :-1]]
    return torch.cat(parts, 1)[:, : s.shape[1]]


def tangent(
    scan: LinearScan, a: Tensor, before: Tensor, reverse: bool, tangents: tuple[Tensor, ...]
) -> Tensor:
    """The tangent of s, from the tangents of a, b and x0."""
    ta, tb, tx0 = tangents
    return scan(a, tb + ta * before, tx0, reverse=reverse)


def adjoint(
    scan: LinearScan, a: Tensor, before: Tensor, ds: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a, b and x0: ``db[k] = ds[k] + conj(a[k+1]) db[k+1]``, reversed in time."""
    factor, none = _factor(a, reverse), torch.zeros_like(ds[:, 0])
    db = scan(factor.conj(), ds, none, reverse=not reverse)
    return _summed(db * before.conj(), a), db, _first(a, reverse).conj() * _first(db, reverse)


def adjoint_tangents(
    scan: LinearScan,
    a: Tensor,
    before: Tensor,
    ds: Tensor,
    reverse: bool,
    tangents: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Tangents of the gradients, from the tangents of a, before and ds."""
    ta, tbefore, tds = tangents
    factor, none = _factor(a, reverse).conj(), torch.zeros_like(ds[:, 0])
    db = scan(factor, ds, none, reverse=not reverse)
    change = _factor(ta, reverse).conj() * shifted(db, none, not reverse)
    tdb = scan(factor, tds + change, none, reverse=not reverse)
    tdx0 = _first(ta, reverse).conj() * _first(db, reverse)
    tdx0 = tdx0 + _first(a, reverse).conj() * _first(tdb, reverse)
    return _summed(tdb * before.conj() + db * tbefore.conj(), a), tdb, tdx0


def _factor(a: Tensor, reverse: bool) -> Tensor:
    """a one step later, which is the factor of the adjoint recurrence."""
    return a if a.ndim == 1 else shifted(a, torch.zeros_like(a[:, 0]), not reverse)


def _first(values: Tensor, reverse: bool) -> Tensor:
    """The values of the first step; a constant is the same at every step."""
    return values if values.ndim == 1 else values[:, -1 if reverse else 0]


def _summed(da: Tensor, a: Tensor) -> Tensor:
    return da if a.ndim == 3 else da.sum((0, 1))
