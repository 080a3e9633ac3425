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

import itertools

import numpy as np
import torch
from torch import Tensor

from ssmbench.analysis.hinf import is_static
from ssmbench.linalg.lyapunov import bilinear, lyapunov, stein
from ssmbench.linalg.precision import EPS, double_dtype
from ssmbench.systems import ContinuousDense, DenseSystem, DiscreteDense

DOUBLINGS = 64
CORRECTIONS = 3
# How far above the norm to try, in units of the tolerance, until a certificate is found.
STEPS = (1.0, 2.0, 4.0, 10.0, 40.0, 200.0, 1000.0, 1e4)


@np.errstate(all="ignore")  # what overflows proves nothing
def certify(system: ContinuousDense | DiscreteDense, norm: Tensor, tolerance: float) -> Tensor:
    """The lowest level (H,) tried that is proved to exceed the gain; infinite where none is.

    Args:
        system: stable and finite, in double precision.
        norm: (H,), about the H-infinity norm.
        tolerance: the first level tried is norm (1 + tolerance).
    """
    bound = torch.where(is_static(system), static_bound(system.D), torch.inf)
    for step, wide in itertools.product(STEPS, (False, True)):
        todo = bound.isinf() & norm.isfinite() & (norm > 0)
        if not bool(todo.any()):
            break
        level = norm[todo] * (1 + step * tolerance)
        proved = _proved(system.map(lambda t, keep=todo: t[keep]), norm[todo], level, wide)
        bound[todo] = torch.where(proved, level, torch.inf)
    return bound


def static_bound(D: Tensor) -> Tensor:
    """An upper bound on sigma_max of D (H, p, m), (H,); infinite where an entry is not finite."""
    finite = D.isfinite().all(-1).all(-1)
    D = _or_zero(D)
    bound = torch.linalg.matrix_norm(D, ord=2)
    bound = bound + 16 * max(D.shape[1:]) * EPS * torch.linalg.matrix_norm(D)
    return torch.where(finite, bound, torch.inf)


def _proved(system: DenseSystem, norm: Tensor, level: Tensor, wide: bool) -> Tensor:
    """Whether the gain is proved to be below level (H,)."""
    between = (norm * level).sqrt()
    P = _or_zero(_riccati(system, between))  # zero is not positive: it proves nothing
    proved = torch.zeros_like(level, dtype=torch.bool)
    for correction in range(CORRECTIONS + 1):
        M, E, scale = _scaled(system, P, level, wide)
        proved = proved | (_positive(P) & cholesky_succeeds(M, E))
        if bool(proved.all()) or correction == CORRECTIONS:
            break
        # Strictness where rounding needs it, more of it where the last correction fell short.
        margin = 4 * _shift(M, E) + 4**correction * (_deficit(M) if correction else 0)
        M = M / scale[:, :, None] / scale[:, None, :]
        margin = (margin[:, None] / scale.square())[:, : system.states]
        P = _or_zero(_corrected(system, P, M, level.square() - between.square(), margin))
    return proved


def _corrected(system: DenseSystem, P: Tensor, M: Tensor, excess: Tensor, margin: Tensor) -> Tensor:
    """One Newton step from P towards the solution whose Riccati residual is diag(margin).

    M belongs to a level whose square exceeds that of the Riccati equation by ``excess``.
    """
    n = system.states
    M = _or_zero(M)
    eye = torch.eye(system.inputs, dtype=M.dtype, device=M.device)
    inputs = M[:, n:, n:] - excess[:, None, None] * eye
    feedback, _ = torch.linalg.solve_ex(inputs, -M[:, n:, :n])
    change = torch.diag_embed(margin) - M[:, :n, :n] - M[:, :n, n:] @ feedback
    closed = (system.A + system.B.to(feedback) @ feedback).mH
    solve = stein if isinstance(system, DiscreteDense) else lyapunov
    return P + _hermitian(solve(closed, change.to(closed.dtype)))


# --- the proof ----------------------------------------------------------------------------------


def _scaled(
    system: DenseSystem, P: Tensor, level: Tensor, wide: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """M, a bound on its rounding errors entry by entry, and the powers of two that scale both.

    wide: summed in the processor's extended precision, where it has one, and then rounded. A mode
    close to the boundary makes P so large that M is lost in the rounding of its terms.
    """
    build = _discrete_matrix if isinstance(system, DiscreteDense) else _continuous_matrix
    real = np.longdouble if wide else np.float64
    M, magnitude = build(_matrices(system, P, level, real))
    terms = 4 * (2 * system.states + system.outputs + 16)  # 4: complex arithmetic
    E = terms * float(np.finfo(real).eps) / 2 * magnitude.astype(float) + 2 * EPS * abs(M).astype(
        float
    )
    sizes = P.diagonal(dim1=-2, dim2=-1).real.abs()
    inputs = level.square()[:, None].expand(-1, system.inputs)
    scale = torch.exp2(-(torch.cat([sizes, inputs], -1).clamp_min(1e-290).log2() / 2).round())
    both = scale[:, :, None] * scale[:, None, :]
    M = torch.from_numpy(M.astype(complex if np.iscomplexobj(M) else float)).to(P.device)
    return M * both, torch.from_numpy(E).to(both) * both, scale


def _matrices(system: DenseSystem, P: Tensor, level: Tensor, real: type) -> tuple[np.ndarray, ...]:
    """[A, B], [C, D], P padded to N + m, and diag(0, level^2 I), in a numpy precision."""
    top, bottom = torch.cat([system.A, system.B], -1), torch.cat([system.C, system.D], -1)
    arrays = [t.cpu().numpy() for t in (top, bottom, P)]
    kind = np.result_type(real, *([np.complex64] if any(map(np.iscomplexobj, arrays)) else []))
    size = top.shape[-1]
    corner = np.zeros((len(P), size, size), dtype=kind)
    inputs = np.arange(system.states, size)
    corner[:, inputs, inputs] = level.cpu().numpy().astype(real)[:, None] ** 2
    return *(array.astype(kind) for array in arrays), corner


def _discrete_matrix(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """M, and the same sum with all terms positive."""
    top, bottom, P, start = parts
    start[:, : P.shape[-1], : P.shape[-1]] = P
    M = start - _adjoint(top) @ (P @ top) - _adjoint(bottom) @ bottom
    top, bottom = abs(top).astype(float), abs(bottom).astype(float)
    sizes = _adjoint(top) @ (abs(P).astype(float) @ top) + _adjoint(bottom) @ bottom
    return (M + _adjoint(M)) / 2, abs(start).astype(float) + sizes


def _continuous_matrix(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    top, bottom, P, start = parts
    half, size = np.zeros_like(start), np.zeros(start.shape)
    half[:, : P.shape[-1]] = P @ top
    size[:, : P.shape[-1]] = abs(P).astype(float) @ abs(top).astype(float)
    M = start - half - _adjoint(half) - _adjoint(bottom) @ bottom
    bottom = abs(bottom).astype(float)
    sizes = size + _adjoint(size) + _adjoint(bottom) @ bottom
    return (M + _adjoint(M)) / 2, abs(start).astype(float) + sizes


def _adjoint(matrix: np.ndarray) -> np.ndarray:
    return matrix.conj().swapaxes(-1, -2)


def _positive(P: Tensor) -> Tensor:
    """Whether P > 0 is proved, (H,)."""
    sizes = P.diagonal(dim1=-2, dim2=-1).real
    scale = torch.exp2(-(sizes.abs().clamp_min(1e-290).log2() / 2).round())
    scaled = P * scale[:, :, None] * scale[:, None, :]
    return cholesky_succeeds(scaled, torch.zeros_like(scaled.real))


def cholesky_succeeds(M: Tensor, E: Tensor) -> Tensor:
    """Whether every Hermitian matrix within E of M is positive definite (Rump 2006, (2.4))."""
    finite = M.isfinite().all(-1).all(-1) & E.isfinite().all(-1).all(-1)
    M = _or_zero(M)
    shift = torch.where(finite, _shift(M, _or_zero(E)), 1.0)
    eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    _, info = torch.linalg.cholesky_ex(M - shift[:, None, None] * eye)
    return finite & (info == 0)


def _shift(M: Tensor, E: Tensor) -> Tensor:
    """What the error E and the factorization's own rounding may take from an eigenvalue, (H,)."""
    size = M.shape[-1]
    trace = M.diagonal(dim1=-2, dim2=-1).real.abs().sum(-1)
    return 1.01 * E.sum(-1).amax(-1) + 8 * (size + 4) * EPS * trace + 1e-290


def _deficit(M: Tensor) -> Tensor:
    """How far the smallest eigenvalue of M lies below zero, (H,)."""
    return (-torch.linalg.eigvalsh(_or_zero(M))[:, 0]).clamp_min(0)


def _or_zero(M: Tensor) -> Tensor:
    """Matrices that are not finite, replaced by zero."""
    return torch.where(M.isfinite().all(-1).all(-1)[:, None, None], M, 0.0)


def _hermitian(M: Tensor) -> Tensor:
    return (M + M.mH) / 2


# --- the Riccati equation -----------------------------------------------------------------------


def _riccati(system: DenseSystem, level: Tensor) -> Tensor:
    """P (H, N, N) that makes M singular at the level; not finite where the level is too low."""
    A, B, C, D = _as_discrete(system)
    root = level.sqrt()[:, None, None]
    B, C, D = B / root, C / root, D / level[:, None, None]
    eye = torch.eye(D.shape[-1], dtype=D.dtype, device=D.device)
    gain, _ = torch.linalg.solve_ex(eye - D.mH @ D, torch.cat([D.mH @ C, B.mH], -1))
    from_output, from_state = gain.split([A.shape[-1], A.shape[-1]], -1)
    F, G = A + B @ from_output, B @ from_state
    Q = C.mH @ (C + D @ from_output)
    return _doubling(F, _hermitian(G), _hermitian(Q)) * level[:, None, None]


def _doubling(A: Tensor, G: Tensor, P: Tensor) -> Tensor:
    """The limit of P = P + A^H P (I - G P)^-1 A over horizons 1, 2, 4, ..., by segments."""
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    for _ in range(DOUBLINGS):
        solved, _ = torch.linalg.solve_ex(eye - G @ P, torch.cat([A, G], -1))
        carried, spread = solved.split([A.shape[-1], A.shape[-1]], -1)
        step = _hermitian(A.mH @ P @ carried)
        G = _hermitian(G + A @ spread @ A.mH)
        P, A = P + step, A @ carried
        settled = step.abs().amax((-2, -1)) <= 1e-15 * P.abs().amax((-2, -1))
        if bool((settled | ~P.isfinite().all(-1).all(-1)).all()):
            break
    return P


def _as_discrete(system: DenseSystem) -> tuple[Tensor, ...]:
    """Matrices of a discrete system with the same P: of itself, or of its bilinear transform."""
    tensors = (system.A, system.B, system.C, system.D)
    dtype = double_dtype(*tensors)
    A, B, C, D = (t.to(dtype) for t in tensors)
    if isinstance(system, DiscreteDense):
        return A, B, C, D
    speed, A_bar, inverse = bilinear(A)
    root = (2 * speed).sqrt()
    return A_bar, root * inverse @ B, root * C @ inverse, D + C @ inverse @ B
