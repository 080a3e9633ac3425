"""Poles, stability, H-infinity and H2 norms by mpmath: no code or method of ssmbench's.

Every figure is computed with a number of digits and again with twice as many, until both agree;
60 and 120 digits mostly. The inputs are doubles, hence exact.

- Poles: mpmath's QR iteration. A distance to the boundary that shrinks with every doubling of the
  digits is taken to be zero: the system is *on the boundary*.
- H-infinity norm: the level-set method (Bruinsma & Steinbuch 1990; Boyd & Balakrishnan 1990). With
  gamma the largest gain at the frequencies tried so far, every eigenvalue of the Hamiltonian at
  gamma (1 + 1e-9) gives a frequency, and so do the middles between neighbours; where none of them
  exceeds that level, the norm is at most gamma (1 + 1e-9). Discrete systems go through
  z = (1 + s) / (1 - s), which keeps the norm.
- H2 norm: Smith's doubling for the Stein equation, or in closed form for diagonal systems.
- More than 12 states: slycot (ab13dd, ab13bd) and NumPy's eigenvalues, for well-conditioned systems
  only, with the response at the peak checked by mpmath.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mpmath
from mpmath import mp

from tests.analysis.torture.case import Case
from tests.analysis.torture.exact import (
    Exact,
    eye,
    gain_at,
    heads,
    is_zero,
    largest_singular_value,
    norm,
    row,
    solve,
)

DIGITS = (60, 120, 240, 480, 960, 1920)
LEVEL = "1e-9"
AGREE = "1e-11"
NIL = 1e-25  # a radius that counts as zero: that of nilpotent matrices only shrinks with the digits
MAX_LEVELS = 40


class NoAnswer(Exception):
    """The figures did not settle with the digits allowed."""


@dataclass(frozen=True)
class Figures:
    """Of a bank: the worst over its heads.

    extent: spectral radius or abscissa. margin: 1 - radius or -abscissa, exactly 0 on the boundary.
    scale: the largest modulus of a pole. A copy with B = 0 or C = 0 has the gain of its D.
    """

    margin: mpmath.mpf
    extent: mpmath.mpf
    scale: mpmath.mpf
    hinf: mpmath.mpf
    h2: mpmath.mpf


def figures(case: Case) -> Figures:
    """The truth about a case.

    Raises:
        NoAnswer: no two precisions agree.
    """
    if case.large:
        from tests.analysis.torture.slycot_oracle import figures_by_slycot

        return figures_by_slycot(case)
    return worst([_settled(copy) for copy in heads(case)])


def worst(found: list[Figures]) -> Figures:
    return Figures(
        margin=min(f.margin for f in found),
        extent=max(f.extent for f in found),
        scale=max(f.scale for f in found),
        hinf=max(f.hinf for f in found),
        h2=max(f.h2 for f in found),
    )


# --- agreement of two precisions ----------------------------------------------------------------


def _settled(system: Exact) -> Figures:
    before = None
    for digits in DIGITS:
        with mp.workdps(digits):
            try:
                found = _figures(system)
            except (ZeroDivisionError, mp.NoConvergence, NoAnswer):
                found = None
            if found and before and _agree(before, found, digits):
                return found
            before = found
    raise NoAnswer


def _agree(one: Figures, two: Figures, digits: int) -> bool:
    pairs = [(one.hinf, two.hinf), (one.h2, two.h2)]
    if two.margin:
        pairs.append((one.margin, two.margin))
    elif one.margin or digits < DIGITS[3]:
        return False
    if max(one.extent, two.extent) > NIL and two.margin:
        pairs.append((one.extent, two.extent))
    return all(a == b or abs(a - b) <= mp.mpf(AGREE) * abs(b) for a, b in pairs)


def _figures(system: Exact) -> Figures:
    margin, extent, scale = _poles(system)
    if system.silent():
        hinf, h2 = largest_singular_value(system.D), _h2_of_feedthrough(system)
    elif margin <= 0:
        hinf = h2 = mp.inf
    else:
        hinf, h2 = hinf_norm(system), h2_norm(system)
    return Figures(margin, extent, scale, hinf, h2)


def _poles(system: Exact) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """Margin, extent, scale; a margin that is nothing beside the digits is zero."""
    poles = poles_of(system)
    if not poles:
        none = mp.zero if system.discrete else -mp.inf
        return (1 - none if system.discrete else mp.inf), none, mp.zero
    scale = max(abs(p) for p in poles)
    extent = scale if system.discrete else max(mp.re(p) for p in poles)
    margin = 1 - extent if system.discrete else -extent
    tiny = mp.mpf(10) ** (-mp.dps // 10) if not system.diagonal else 0
    if abs(margin) <= tiny * (1 if system.discrete else scale):
        margin = mp.zero
    return margin, extent, scale


def poles_of(system: Exact) -> list:
    if system.diagonal:
        return [system.A[i, i] for i in range(system.states)]
    if system.states == 0:
        return []
    if system.states == 1:
        return [system.A[0, 0]]
    return list(mp.eig(system.A, left=False, right=False))


# --- H-infinity norm ----------------------------------------------------------------------------


def hinf_norm(system: Exact) -> mpmath.mpf:
    """The norm of a stable system, at most 1e-9 too small."""
    s = _in_continuous_time(system) if system.discrete else system
    real = not any(
        isinstance(x, mpmath.mpc) and x.imag != 0 for M in (s.A, s.B, s.C, s.D) for x in M
    )
    gamma, slack = largest_singular_value(s.D), 1 + mp.mpf(LEVEL)
    tried = [w for p in poles_of(s) for w in (mp.im(p), abs(p), -abs(p))] + [mp.zero]
    for level in range(MAX_LEVELS):
        best = max(gain_at(s, mp.mpc(0, w)) for w in tried)
        if best <= gamma * slack and gamma > 0 and level > 0:
            return max(best, gamma)
        gamma = max(best, gamma)
        if gamma <= mp.mpf(10) ** (-mp.dps // 2) * norm(s.B) * norm(s.C) / (norm(s.A) or 1):
            return _gain_of_nothing(s)
        tried = _crossings(s, gamma * slack, real)
    raise NoAnswer


def _gain_of_nothing(s: Exact) -> mpmath.mpf:
    """Zero, once more frequencies than G can have zeros are tried."""
    unit = norm(s.A) or mp.one
    gains = [gain_at(s, mp.mpc(0, unit * (k + 1) / 7)) for k in range(2 * s.states + 1)]
    if max(gains) <= mp.mpf(10) ** (-mp.dps // 2) * norm(s.B) * norm(s.C) / unit:
        return mp.zero
    raise NoAnswer


def _crossings(s: Exact, gamma: mpmath.mpf, real: bool) -> list:
    """Frequencies of all Hamiltonian eigenvalues at this level, and the middles between them."""
    found = [mp.im(x) for x in mp.eig(_hamiltonian(s, gamma), left=False, right=False)]
    found = sorted({abs(w) for w in found} | {mp.zero} if real else found)
    return found + [(a + b) / 2 for a, b in pairwise(found)]


def _hamiltonian(s: Exact, gamma: mpmath.mpf) -> mpmath.matrix:
    """Imaginary eigenvalues are the frequencies at which gamma is a singular value of G."""
    balance = mp.sqrt(norm(s.C) / norm(s.B) / gamma)
    B, C, D = s.B * balance, s.C / (balance * gamma), s.D / gamma
    weighted = solve(
        eye(D.cols) - D.H * D, mp.matrix([row(D.H * C, i) + row(B.H, i) for i in range(D.cols)])
    )
    n = s.states
    R_DC, R_B = weighted[:, :n], weighted[:, n:]
    F, G, Q = s.A + B * R_DC, B * R_B, C.H * (C + D * R_DC)
    H = mp.matrix(2 * n, 2 * n)
    H[:n, :n], H[:n, n:], H[n:, :n], H[n:, n:] = F, G, -Q, -F.H
    return H


def _in_continuous_time(system: Exact) -> Exact:
    """The same values of G along the imaginary axis: z = (1 + s) / (1 - s)."""
    one = eye(system.states)
    solved = solve(
        system.A + one,
        mp.matrix(
            [row(system.A - one, i) + row(system.B, i) + row(one, i) for i in range(system.states)]
        ),
    )
    n, m = system.states, system.B.cols
    A, B, inverse = solved[:, :n], solved[:, n : n + m], solved[:, n + m :]
    root = mp.sqrt(2)
    return Exact(
        False, A, B * root, system.C * inverse * root, system.D - system.C * B, system.diagonal
    )


# --- H2 norm ------------------------------------------------------------------------------------


def h2_norm(system: Exact) -> mpmath.mpf:
    """The norm of a stable system; infinite in continuous time with D != 0."""
    through = _h2_of_feedthrough(system)
    if mp.isinf(through):
        return through
    P = _gramian_of_modes(system) if system.diagonal else _gramian(system)
    energy = mp.fsum(mp.re(x) for x in _diagonal_of(system.C * P * system.C.H))
    if energy < 0:
        raise NoAnswer
    return mp.sqrt(energy + through**2)


def _h2_of_feedthrough(system: Exact) -> mpmath.mpf:
    if system.discrete or is_zero(system.D):
        return norm(system.D)
    return mp.inf


def _diagonal_of(M: mpmath.matrix) -> list:
    return [M[i, i] for i in range(M.rows)]


def _gramian_of_modes(system: Exact) -> mpmath.matrix:
    P, lam = system.B * system.B.H, _diagonal_of(system.A)
    for i, a in enumerate(lam):
        for j, b in enumerate(lam):
            P[i, j] /= (1 - a * mp.conj(b)) if system.discrete else -(a + mp.conj(b))
    return P


def _gramian(system: Exact) -> mpmath.matrix:
    """P = sum of A^k Q (A^k)*, the number of terms doubled at each step (Smith 1968)."""
    M, B = system.A, system.B
    if not system.discrete:
        M, B = _cayley(system)
    P = B * B.H
    for _ in range(400):
        P, M = P + M * P * M.H, M * M
        if norm(M) ** 2 < mp.mpf(10) ** (-mp.dps):
            return P
    raise NoAnswer


def _cayley(system: Exact) -> tuple[mpmath.matrix, mpmath.matrix]:
    """The Stein equation with the same solution: M = (a - A)^-1 (a + A), sqrt(2 a) (a - A)^-1 B."""
    sizes = [abs(p) for p in poles_of(system)]
    a, one = mp.sqrt(max(sizes) * min(sizes)), eye(system.states)
    solved = solve(
        a * one - system.A,
        mp.matrix([row(a * one + system.A, i) + row(system.B, i) for i in range(system.states)]),
    )
    return solved[:, : system.states], solved[:, system.states :] * mp.sqrt(2 * a)
