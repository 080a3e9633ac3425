"""Stein and Lyapunov equations of batches of stable matrices, by doubling: O(N^3 log(1 / gap))."""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor

DOUBLINGS = 64  # a stable pole in float64 has decayed after 2^60 steps


def stein(A: Inexact[Tensor, "H N N"], Q: Inexact[Tensor, "H N N"]) -> Inexact[Tensor, "H N N"]:
    """X = A X A^H + Q, the sum of A^k Q A^kH: discrete Gramians. Diverges for unstable A.

    Source: Smith (1968), SIAM J. Appl. Math. 16:198, in the squared (doubling) form.
    """
    X = Q
    for _ in range(DOUBLINGS):
        step = A @ X @ A.mH
        X, A = X + step, A @ A
        settled = step.abs().amax((-2, -1)) <= 1e-17 * X.abs().amax((-2, -1))
        if bool((settled | ~X.isfinite().all(-1).all(-1)).all()):
            break
    return X


def lyapunov(A: Inexact[Tensor, "H N N"], Q: Inexact[Tensor, "H N N"]) -> Inexact[Tensor, "H N N"]:
    """A X + X A^H + Q = 0: continuous Gramians, as the Stein equation of the bilinear transform."""
    speed, A_bar, inverse = bilinear(A)
    return stein(A_bar, 2 * speed * inverse @ Q @ inverse.mH)


def gramian_factor(
    A: Inexact[Tensor, "H N N"], B: Inexact[Tensor, "H N m"], *, discrete: bool
) -> Inexact[Tensor, "H N r"]:
    """L with X = L L^H, the controllability Gramian of a stable system; r <= N or r = m.

    X = A X A^H + B B^H in discrete time, A X + X A^H + B B^H = 0 in continuous time. As X itself is
    never formed, small singular values keep their accuracy and X = L L^H is positive semidefinite
    despite rounding.

    Source: Smith (1968), in the squared form, with the factor compressed by QR; Penzl (1999), SIAM
        J. Sci. Comput. 21:1401.
    """
    if not A.shape[-1]:
        return B
    if not discrete:
        speed, A, inverse = bilinear(A)
        B = (2 * speed).sqrt() * (inverse @ B)
    L = _compressed(B)
    for _ in range(DOUBLINGS):
        step = A @ L
        L, A = _compressed(torch.cat([L, step], -1)), A @ A
        settled = step.abs().amax((-2, -1)) <= 1e-17 * L.abs().amax((-2, -1))
        if bool((settled | ~L.isfinite().all(-1).all(-1)).all()):
            break
    return L


def _compressed(L: Tensor) -> Tensor:
    """A factor with the same L L^H and at most as many columns as rows."""
    if L.shape[-1] <= L.shape[-2]:
        return L
    return torch.linalg.qr(torch.nan_to_num(L).mH, mode="r").R.mH


def bilinear(A: Inexact[Tensor, "H N N"]) -> tuple[Tensor, Tensor, Tensor]:
    """w (H, 1, 1), a frequency of the size of A's poles, (w I - A)^-1 (w I + A), and (w I -
    A)^-1."""
    speed = torch.linalg.matrix_norm(A)[:, None, None] / A.shape[-1] ** 0.5 + 1e-300
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    inverse = torch.linalg.inv(speed * eye - A)
    return speed, inverse @ (speed * eye + A), inverse
