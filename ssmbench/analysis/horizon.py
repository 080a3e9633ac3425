"""Finite-horizon gain: the largest l2 amplification over the first L steps from rest.

It is the largest singular value of the block lower-triangular Toeplitz matrix of the Markov
parameters h_0 = D, h_t = C A^{t-1} B, and rises with L towards the H-infinity norm (for unstable
systems, towards infinity). The matrix is never formed: "gain < level" is the existence of a
Riccati solution over L steps, and segments of equal dynamics join in O(N^3), so that a test costs
O(N^3 log L) and the gain is the root of a smooth function of the level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.systems import DiscreteDense, DiscreteSystem, LinearSystem

TOLERANCE = 1e-11


@dataclass(frozen=True)
class _Segment:
    """What a stretch of steps does, at level 1, under the worst input inside it.

    A (H, N, N) carries the state across; S S^H is the state reached per unit of net input energy;
    Z^H Z is the net output energy of an initial state.
    """

    A: Tensor
    S: Tensor
    Z: Tensor


def horizon_gain(system: LinearSystem, horizon: int) -> Float[Tensor, " H"]:
    """Exact l2 gain over ``horizon`` steps from rest, of every head.

    Args:
        system: discrete, stable or not.
        horizon: L, number of steps, at least 1.

    Returns:
        (H,) float64: to 1e-9 relative; infinite on overflow or when an entry is not finite.

    Raises:
        UsageError: a continuous system, or a horizon below 1.

    Source: bounded-real lemma over a finite horizon (Green & Limebeer 1995, Linear Robust Control,
        appendix B), with the doubling of Anderson (1978), Int. J. Control 28:295, in square-root
        form.
    """
    if not isinstance(system, DiscreteSystem):
        raise UsageError(
            "a finite-horizon gain counts steps, and this system is continuous: discretize it first"
        )
    if horizon < 1:
        raise UsageError(f"horizon must be at least 1 step; got {horizon}")
    with torch.no_grad():
        dense = system.detach().double().to_dense()
        finite = torch.stack([t.isfinite().flatten(1).all(1) for t in dense.tensors().values()])
        finite = finite.all(0)
        dense = dense.map(lambda t: torch.where(finite[:, None, None], t, 0.0))
        return torch.where(finite, _gain(dense, horizon), math.inf)


def _gain(system: DiscreteDense, horizon: int) -> Tensor:
    floor = _largest_markov_parameter(system, min(horizon, system.states + 1))
    moves = floor > 0  # the first N + 1 Markov parameters vanish only together with all others
    if horizon == 1 or not system.states or not bool(moves.any()):
        return floor
    floor = torch.where(moves, floor, 1.0)
    gain = torch.where(floor.isinf(), math.inf, _root(system, floor, horizon))
    return torch.where(moves, gain, 0.0)


def _largest_markov_parameter(system: DiscreteDense, count: int) -> Tensor:
    """Largest sigma_max h_t over t < count: a lower bound of the gain, (H,)."""
    best, state = torch.linalg.matrix_norm(system.D, ord=2), system.B
    for _ in range(count - 1):
        markov = system.C.to(state) @ state
        finite = markov.isfinite().all(-1).all(-1)
        norm = torch.linalg.matrix_norm(torch.where(finite[:, None, None], markov, 0.0), ord=2)
        best = torch.maximum(best, torch.where(finite, norm, math.inf))
        state = system.A.to(state) @ state
    return best


# --- the root in the level ----------------------------------------------------------------------


def _root(system: DiscreteDense, floor: Tensor, horizon: int) -> Tensor:
    """The level (H,) at which the slack vanishes, from below; infinite beyond the float range.

    Chandrupatla's (1997) bracketing root finder on log(level), every head at its own pace: inverse
    quadratic interpolation where the last three points allow it, else bisection.
    """
    below, above, slack_below, slack_above = _bracket(system, floor, horizon)
    x1, f1, x2, f2 = below.log(), slack_below, above.log(), slack_above
    t = torch.full_like(x1, 0.5)
    while bool((active := ((x1 - x2).abs() > TOLERANCE) & above.isfinite()).any()):
        x = torch.where(active, x1 + t * (x2 - x1), x1)
        f = torch.where(active, _slack_of(active, system, x.exp(), horizon), f1)
        same = (f > 0) == (f1 > 0)
        x3, f3 = torch.where(same, x1, x2), torch.where(same, f1, f2)
        x2, f2 = torch.where(same, x2, x1), torch.where(same, f2, f1)
        x1, f1 = x, f
        t = _interpolated(x1, x2, x3, f1, f2, f3)
    below = torch.where(f1 > 0, x2, x1).exp()
    return torch.where(above.isfinite(), below, math.inf)


def _interpolated(x1: Tensor, x2: Tensor, x3: Tensor, f1: Tensor, f2: Tensor, f3: Tensor) -> Tensor:
    """Share of the way from x1 to x2 where the root is expected (one half where it is unclear)."""
    xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)  # false for slacks of -inf
    t = f1 / (f1 - f2) * f3 / (f3 - f2)
    t = t - (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f2 - f3)
    least = (TOLERANCE / 2 / (x2 - x1).abs()).clamp_max(0.5)
    return torch.where(smooth & t.isfinite(), t, 0.5).clamp(least, 1 - least)


def _bracket(system: DiscreteDense, floor: Tensor, horizon: int) -> tuple[Tensor, ...]:
    """Levels (below, above) with slack <= 0 < slack; above = inf where no float is high enough."""
    below, slack_below = floor, torch.full_like(floor, -math.inf)
    above, slack_above = torch.full_like(floor, math.inf), torch.ones_like(floor)
    for factor in (1 + TOLERANCE, *(2.0**k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000))):
        active = above.isinf() & (floor * factor).isfinite()
        if not bool(active.any()):
            break
        slack = _slack_of(active, system, floor * factor, horizon)
        passed, failed = active & (slack > 0), active & (slack <= 0)
        above = torch.where(passed, floor * factor, above)
        slack_above = torch.where(passed, slack, slack_above)
        below = torch.where(failed, floor * factor, below)
        slack_below = torch.where(failed, slack, slack_below)
    return below, above, slack_below, slack_above


def _slack_of(active: Tensor, system: DiscreteDense, level: Tensor, horizon: int) -> Tensor:
    """The slack of the active heads alone; 1 elsewhere."""
    slack = torch.ones_like(level)
    slack[active] = _slack(system.map(lambda t: t[active]), level[active], horizon)
    return slack


# --- the test at one level ----------------------------------------------------------------------


def _slack(system: DiscreteDense, level: Tensor, horizon: int) -> Tensor:
    """1 - sigma_max(X)^2 of the last join (H,): positive exactly when gain < level.

    -inf where already a part of the horizon reaches the level.
    """
    first, second, alive = _parts(system, level, horizon)
    X = second.Z @ first.S
    alive = alive & X.isfinite().all(-1).all(-1)
    gram = _identity_minus(torch.where(alive[:, None, None], X, 0.0))
    alive = alive & gram.isfinite().all(-1).all(-1)  # X^H X overflows: far above the level
    gram = torch.where(alive[:, None, None], gram, 0.0)
    return torch.where(alive, torch.linalg.eigvalsh(gram)[:, 0], -math.inf)


def _parts(system: DiscreteDense, level: Tensor, horizon: int) -> tuple[_Segment, _Segment, Tensor]:
    """Two segments that make up the horizon, the second a power of two long, and validity (H,)."""
    top = 1 << ((horizon - 1).bit_length() - 1)
    rest = horizon - top
    power, alive = _one_step(system, level)
    first, length = None, 1
    while True:
        if rest & length:
            if first is None:
                first = power
            else:
                first, fine = _join(first, power)
                alive = alive & fine
        if length == top and first is not None:  # rest is at least 1: there is a first part
            return first, power, alive
        power, fine = _join(power, power)
        alive, length = alive & fine, 2 * length


def _one_step(system: DiscreteDense, level: Tensor) -> tuple[_Segment, Tensor]:
    """One step at a level (H,), its square root shared between B and C to keep both in range."""
    root = level.sqrt()[:, None, None]
    dtype = torch.promote_types(system.A.dtype, torch.promote_types(system.B.dtype, system.C.dtype))
    dtype = torch.promote_types(dtype, system.D.dtype)
    A, B, C = system.A.to(dtype), system.B.to(dtype) / root, system.C.to(dtype) / root
    D = system.D.to(dtype) / root / root
    right, left, fine = _factors(D)
    inner = torch.cholesky_solve(D.mH @ C, right)
    S = _lower(torch.linalg.solve_triangular(right.mH, B, upper=True, left=False))
    Z = _upper(torch.linalg.solve_triangular(left, C, upper=False))
    return _Segment(A + B @ inner, S, Z), fine


def _join(first: _Segment, second: _Segment) -> tuple[_Segment, Tensor]:
    """``first`` followed by ``second``, and whether the level still exceeds the gain, (H,)."""
    right, left, fine = _factors(second.Z @ first.S)
    passed = second.Z @ first.A
    reached = second.A @ first.S
    # A2 (I - G1 P2)^-1 A1 = A2 A1 + A2 S1 (I - X'X)^-1 X' Z2 A1
    X = torch.where(fine[:, None, None], second.Z @ first.S, 0.0)
    A = second.A @ first.A + reached @ torch.cholesky_solve(X.mH @ passed, right)
    S = torch.linalg.solve_triangular(right.mH, reached, upper=True, left=False)
    Z = torch.linalg.solve_triangular(left, passed, upper=False)
    joined = _Segment(A, _lower(torch.cat([second.S, S], -1)), _upper(torch.cat([first.Z, Z], -2)))
    # A head that has failed continues as zeros: its result is known, and nothing overflows.
    keep = fine[:, None, None]
    clean = (torch.where(keep, t, 0.0) for t in (joined.A, joined.S, joined.Z))
    return _Segment(*clean), fine


def _factors(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factors of I - X^H X and I - X X^H, and whether they exist, (H,)."""
    finite = X.isfinite().all(-1).all(-1)
    X = torch.where(finite[:, None, None], X, 0.0)
    right, info_right = torch.linalg.cholesky_ex(_identity_minus(X))
    left, info_left = torch.linalg.cholesky_ex(_identity_minus(X.mH))
    fine = finite & (info_right == 0) & (info_left == 0)
    keep = fine[:, None, None]
    return (
        torch.where(keep, right, torch.eye(right.shape[-1], dtype=X.dtype, device=X.device)),
        torch.where(keep, left, torch.eye(left.shape[-1], dtype=X.dtype, device=X.device)),
        fine,
    )


def _identity_minus(X: Tensor) -> Tensor:
    """I - X^H X."""
    return torch.eye(X.shape[-1], dtype=X.dtype, device=X.device) - X.mH @ X


def _upper(Z: Tensor) -> Tensor:
    """A matrix with at most as many rows as columns and the same Z^H Z, by QR."""
    if Z.shape[-2] <= Z.shape[-1]:
        return Z
    Z = torch.nan_to_num(Z) if not bool(Z.isfinite().all()) else Z
    return torch.linalg.qr(Z, mode="r").R


def _lower(S: Tensor) -> Tensor:
    """A matrix with at most as many columns as rows and the same S S^H."""
    return _upper(S.mH).mH
