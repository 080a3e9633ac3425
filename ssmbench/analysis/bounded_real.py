"""The bounded-real certificate: a proof, in floating point, that a dense system's gain is below g.

The gain is below g as soon as some P > 0 makes

    M = diag(P, g^2 I) - [A, B; C, D]^H diag(P, I) [A, B; C, D]                        (discrete)
    M = -[A^H P + P A + C^H C, P B + C^H D; B^H P + D^H C, D^H D - g^2 I]              (continuous)

positive definite (the bounded-real lemma), whatever P came from. P is the solution of the Riccati
equation at a slightly lower level, by the structure-preserving doubling algorithm of Chu, Fan & Lin
(2004), Int. J. Control 77:767; M > 0 is proved by a Cholesky factorization of M less a bound on all
rounding errors (Rump 2006, BIT 46:433: Verification of positive definiteness).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.systems import ContinuousDense, DiscreteDense, LinearSystem

EPS = 2.0**-53
DOUBLINGS = 64
# How far above the norm to try, in units of the tolerance, until a certificate is found.
STEPS = (1.0, 2.0, 4.0, 10.0, 40.0, 200.0, 1000.0, 1e4)


def certify(system: ContinuousDense | DiscreteDense, norm: Tensor, tolerance: float) -> Tensor:
    """The lowest level (H,) tried that is proved to exceed the gain; infinite where none is.

    Args:
        system: stable and finite, in double precision.
        norm: (H,), about the H-infinity norm.
        tolerance: the first level tried is norm (1 + tolerance).
    """
    bound = torch.where(_is_static(system), _static_bound(system), torch.inf)
    for step in STEPS:
        todo = bound.isinf() & norm.isfinite() & (norm > 0)
        if not bool(todo.any()):
            break
        level = norm[todo] * (1 + step * tolerance)
        proved = _proved(system.map(lambda t, keep=todo: t[keep]), norm[todo], level)
        bound[todo] = torch.where(proved, level, torch.inf)
    return bound


def _is_static(system: LinearSystem) -> Tensor:
    """Copies (H,) with no path from input to output through the state that numbers can see."""
    return ~(system.B.abs().amax((-2, -1)) > 0) | ~(system.C.abs().amax((-2, -1)) > 0)


def _static_bound(system: LinearSystem) -> Tensor:
    size = max(system.inputs, system.outputs)
    norm = torch.linalg.matrix_norm(system.D, ord=2)
    return norm + 16 * size * EPS * torch.linalg.matrix_norm(system.D)


def _proved(system: LinearSystem, norm: Tensor, level: Tensor) -> Tensor:
    """Whether the gain is proved to be below level (H,)."""
    between = (norm * level).sqrt()
    P, _ = _riccati(system, between, None)
    # Strictness where rounding needs it: the same equation with that much more output energy.
    surplus = 4 * _rounding(system, P, level)
    P, solved = _riccati(system, between, surplus[:, : system.states])
    return solved & _positive(P) & _bounded_real(system, P, level)


# --- the proof ----------------------------------------------------------------------------------


def _bounded_real(system: LinearSystem, P: Tensor, level: Tensor) -> Tensor:
    """Whether M > 0 is proved, (H,)."""
    M, E, _ = _scaled(system, P, level)
    return _cholesky_succeeds(M, E)


def _rounding(system: LinearSystem, P: Tensor, level: Tensor) -> Tensor:
    """Diagonal (H, N + m) that, added to M, outweighs its rounding errors."""
    M, E, scale = _scaled(system, P, level)
    return _shift(M, E)[:, None] / scale.square()


def _scaled(system: LinearSystem, P: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """M, a bound on its rounding errors entry by entry, and the powers of two that scale both."""
    build = _discrete_matrix if isinstance(system, DiscreteDense) else _continuous_matrix
    M, magnitude = build(system, P, level)
    terms = 4 * (2 * system.states + system.outputs + 16)  # 4: complex arithmetic
    sizes = P.diagonal(dim1=-2, dim2=-1).real.abs()
    inputs = level.square()[:, None].expand(-1, system.inputs)
    scale = torch.exp2(-(torch.cat([sizes, inputs], -1).clamp_min(1e-290).log2() / 2).round())
    both = scale[:, :, None] * scale[:, None, :]
    return M * both, terms * EPS * magnitude * both, scale


def _discrete_matrix(system: DiscreteDense, P: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """M, and the same sum with all terms positive."""
    top, bottom = torch.cat([system.A, system.B], -1), torch.cat([system.C, system.D], -1)
    start = _start(system, P, level)
    M = start - top.mH @ (P @ top) - bottom.mH @ bottom
    top, bottom = top.abs(), bottom.abs()
    return _hermitian(M), start.abs() + top.mT @ (P.abs() @ top) + bottom.mT @ bottom


def _continuous_matrix(system: ContinuousDense, P: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    top, bottom = torch.cat([system.A, system.B], -1), torch.cat([system.C, system.D], -1)
    start = _start(system, torch.zeros_like(P), level)
    pad = (0, 0, 0, system.inputs)
    half = torch.nn.functional.pad(P @ top, pad)
    sizes = torch.nn.functional.pad(P.abs() @ top.abs(), pad)
    M = start - half - half.mH - bottom.mH @ bottom
    bottom = bottom.abs()
    return _hermitian(M), start.abs() + sizes + sizes.mT + bottom.mT @ bottom


def _start(system: LinearSystem, P: Tensor, level: Tensor) -> Tensor:
    """diag(P, level^2 I)."""
    eye = torch.eye(system.inputs, dtype=P.dtype, device=P.device)
    start = P.new_zeros(len(P), system.states + system.inputs, system.states + system.inputs)
    start[:, : system.states, : system.states] = P
    start[:, system.states :, system.states :] = level.square()[:, None, None] * eye
    return start


def _positive(P: Tensor) -> Tensor:
    """Whether P > 0 is proved, (H,)."""
    sizes = P.diagonal(dim1=-2, dim2=-1).real
    scale = torch.exp2(-(sizes.abs().clamp_min(1e-290).log2() / 2).round())
    scaled = P * scale[:, :, None] * scale[:, None, :]
    return _cholesky_succeeds(scaled, torch.zeros_like(scaled.real))


def _cholesky_succeeds(M: Tensor, E: Tensor) -> Tensor:
    """Whether every Hermitian matrix within E of M is positive definite (Rump 2006, (2.4))."""
    finite = M.isfinite().all(-1).all(-1) & E.isfinite().all(-1).all(-1)
    M = torch.where(finite[:, None, None], M, 0.0)
    shift = torch.where(finite, _shift(M, torch.where(finite[:, None, None], E, 0.0)), 1.0)
    eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    _, info = torch.linalg.cholesky_ex(M - shift[:, None, None] * eye)
    return finite & (info == 0)


def _shift(M: Tensor, E: Tensor) -> Tensor:
    """What the error E and the factorization's own rounding may take from an eigenvalue, (H,)."""
    size = M.shape[-1]
    trace = M.diagonal(dim1=-2, dim2=-1).real.abs().sum(-1)
    return 1.01 * E.sum(-1).amax(-1) + 8 * (size + 4) * EPS * trace + 1e-290


def _hermitian(M: Tensor) -> Tensor:
    return (M + M.mH) / 2


# --- the Riccati equation -----------------------------------------------------------------------


def _riccati(system: LinearSystem, level: Tensor, surplus: Tensor | None) -> tuple[Tensor, Tensor]:
    """P (H, N, N) that makes M singular at the level, and whether the iteration converged.

    surplus (H, N) is a diagonal added to C^H C.
    """
    A, B, C, D = _as_discrete(system, surplus)
    root = level.sqrt()[:, None, None]
    B, C, D = B / root, C / root, D / level[:, None, None]
    eye = torch.eye(D.shape[-1], dtype=D.dtype, device=D.device)
    gain = torch.linalg.solve(eye - D.mH @ D, torch.cat([D.mH @ C, B.mH], -1))
    from_output, from_state = gain.split([A.shape[-1], A.shape[-1]], -1)
    F, G = A + B @ from_output, B @ from_state
    Q = C.mH @ (C + D @ from_output)
    P, converged = _doubling(F, _hermitian(G), _hermitian(Q))
    return P * level[:, None, None], converged


def _doubling(A: Tensor, G: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
    """The limit of P = P + A^H P (I - G P)^-1 A over horizons 1, 2, 4, ..., by segments."""
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    converged = torch.zeros(len(A), dtype=torch.bool, device=A.device)
    for _ in range(DOUBLINGS):
        solved, _ = torch.linalg.solve_ex(eye - G @ P, torch.cat([A, G], -1))
        carried, spread = solved.split([A.shape[-1], A.shape[-1]], -1)
        step = _hermitian(A.mH @ P @ carried)
        G = _hermitian(G + A @ spread @ A.mH)
        P, A = P + step, A @ carried
        converged = step.abs().amax((-2, -1)) <= 1e-14 * P.abs().amax((-2, -1))
        if bool((converged | ~P.isfinite().all(-1).all(-1)).all()):
            break
    return P, converged & P.isfinite().all(-1).all(-1)


def _as_discrete(system: LinearSystem, surplus: Tensor | None) -> tuple[Tensor, ...]:
    """Matrices of a discrete system with the same P: of itself, or of its bilinear transform."""
    A, B, C, D = system.A, system.B, system.C, system.D
    if surplus is not None:
        rows = torch.diag_embed(surplus.clamp_min(0).sqrt()).to(C.dtype)
        C = torch.cat([C, rows], -2)
        D = torch.cat([D, D.new_zeros(len(D), surplus.shape[-1], D.shape[-1])], -2)
    if isinstance(system, DiscreteDense):
        return _one_type(A, B, C, D)
    A, B, C, D = _one_type(A, B, C, D)
    speed = torch.linalg.matrix_norm(A)[:, None, None] / A.shape[-1] ** 0.5 + 1e-300
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    solved = torch.linalg.solve(speed * eye - A, torch.cat([speed * eye + A, B], -1))
    A_bar, reached = solved.split([A.shape[-1], B.shape[-1]], -1)
    C_bar = torch.linalg.solve(speed * eye - A, C, left=False)
    root = (2 * speed).sqrt()
    return A_bar, root * reached, root * C_bar, D + C @ reached


def _one_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    dtype = torch.complex128 if any(t.is_complex() for t in tensors) else torch.float64
    return tuple(t.to(dtype) for t in tensors)
