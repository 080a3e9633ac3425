"""Composite impulse responses of a lumped network over a horizon, with bounds on their errors.

Each column of a response is the effect of a unit impulse at step 0, of a channel of u or of a
remainder. Its error is measured in the sum over all steps of the Euclidean norm, in which a map of
impulse response h has at most the gain ``sum_t ||h_t||``, and the discrete Fourier transform the
gain 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssmbench.analysis.network_bound.enclosed import OUTWARD, Enclosed, gamma
from ssmbench.analysis.network_bound.lumped import LumpedBlock, LumpedNetwork, PairedSystem
from ssmbench.linalg.precision import EPS, to_double
from ssmbench.systems import DiagonalSystem, DiscreteLTI

#: Error of a computed cosine or sine of 2 pi j / N: of the argument, and of the function.
WAVE_ERROR = 32 * EPS
#: The longest horizon that is transformed in one stage.
_DIRECT = 128
#: Covers what underflows.
_TINY = 1e-280


@dataclass(frozen=True)
class Response:
    """``values`` (L, d, columns) and, for each column, a bound (columns,) on the sum over the
    steps of the norm of what is true minus ``values``."""

    values: np.ndarray
    errors: np.ndarray

    @staticmethod
    def of_impulses(matrix: Enclosed, horizon: int) -> Response:
        """The matrix (d, columns) at step 0."""
        values = np.zeros((horizon, *matrix.value.shape))
        values[0] = matrix.value
        return Response(values, np.full(matrix.value.shape[1], matrix.error))

    @property
    def sizes(self) -> np.ndarray:
        """The sum over the steps of each column's norm, (columns,), rounded upward."""
        return np.linalg.norm(self.values, axis=1).sum(0) * OUTWARD

    def through(self, matrix: Enclosed) -> Response:
        """The matrix times the response at each step."""
        size, rounding = self.sizes, gamma(self.values.shape[1]) * np.linalg.norm(matrix.value)
        errors = matrix.norm * self.errors + (matrix.error + rounding * OUTWARD) * size
        return Response(matrix.value @ self.values, errors * OUTWARD + _TINY)

    def scaled(self, factor: float) -> Response:
        """``factor`` times the response."""
        values = factor * self.values
        errors = abs(factor) * (self.errors + EPS * self.sizes)
        return Response(values, errors * OUTWARD + _TINY)

    def plus(self, other: Response) -> Response:
        """The sum of two responses."""
        values = self.values + other.values
        errors = self.errors + other.errors + EPS * (self.sizes + other.sizes)
        return Response(values, errors * OUTWARD)

    def beside(self, other: Response) -> Response:
        """The columns of both."""
        values = np.concatenate([self.values, other.values], 2)
        return Response(values, np.concatenate([self.errors, other.errors]))


def compose(network: LumpedNetwork) -> tuple[list[Response], Response]:
    """The responses of what each block's remainders read, and of the features before the decoder.

    The k-th has the columns of u and of the remainders before block k; the last has all columns.
    """
    x = Response.of_impulses(network.encoder, network.horizon)
    reads = []
    for block in network.blocks:
        w = _through_system(block, x.through(block.before))
        reads.append(w.through(block.read))
        x = x.through(block.skip).plus(w.through(block.through))
        x = x.beside(Response.of_impulses(block.out, network.horizon))
    return reads, x.through(network.decoder)


def _through_system(block: LumpedBlock, x: Response) -> Response:
    if isinstance(block.system, PairedSystem):
        return _through_pair(block.system, x)
    return x if block.system is None else filtered(block.system, x)


def _through_pair(pair: PairedSystem, x: Response) -> Response:
    width = (x.values.shape[1] - 1) // 2
    w, e = (Response(x.values[:, k : k + width], x.errors) for k in (0, width))
    full, s = filtered(pair.full, w), x.values[0, -1]
    change = _change(pair, w).plus(filtered(pair.reduced, e))
    known = Response(pair.known[:, :, None] * s, pair.known_error * abs(s) * OUTWARD)
    change = change.plus(known)
    values = np.concatenate([full.values, change.values, x.values[:, -1:]], 1)
    size = float(np.linalg.norm(pair.known, axis=1).sum()) + pair.known_error
    errors = full.errors + change.errors + (1 + size) * x.errors
    return Response(values, errors * OUTWARD)


def _change(pair: PairedSystem, w: Response) -> Response:
    """The response of (G - H) w / scale; an error of w passes G - H, not both one by one."""
    apart = difference(pair.full, pair.reduced, Response(w.values, np.zeros_like(w.errors)))
    scaled = apart.scaled(1 / pair.scale)
    errors = scaled.errors + pair.apart / pair.scale * w.errors
    return Response(scaled.values, errors * OUTWARD)


def difference(full: DiscreteLTI, reduced: DiscreteLTI, x: Response) -> Response:
    """The response of the difference of two systems' outputs."""
    return filtered(full, x).plus(filtered(reduced, x).scaled(-1.0))


def filtered(system: DiscreteLTI, x: Response) -> Response:
    """The response of the system's output, (L, H p, columns), from that of its input."""
    parts, horizon = _Matrices.of(system), len(x.values)
    heads, inputs = parts.B.shape[0], parts.B.shape[2]
    u = x.values.reshape(horizon, heads, inputs, -1)
    y, states = parts.simulate(u)
    errors = parts.impulse_gain(horizon) * x.errors
    errors = errors + parts.rounding(states, x.sizes, parts.reach(horizon))
    return Response(y.reshape(horizon, -1, u.shape[-1]), errors * OUTWARD + _TINY)


def impulse_gain(system: DiscreteLTI, horizon: int) -> float:
    """A bound on the sum over the horizon of the norm of a system's impulse response."""
    return _Matrices.of(system).impulse_gain(horizon)


@dataclass(frozen=True)
class _Matrices:
    """A (H, N, N), or its diagonal (H, N); B (H, N, m), C (H, p, N) and D (H, p, m) in float64 or
    complex128, C twice that of the system if it stores one of each conjugate pair.

    Norms are the largest over the heads, of which all maps are block diagonal.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray

    @staticmethod
    def of(system: DiscreteLTI) -> _Matrices:
        A, B, C, D = (
            t.detach().cpu().resolve_conj().numpy()
            for t in (to_double(x) for x in (system.dynamics, system.B, system.C, system.D))
        )
        pairs = isinstance(system, DiagonalSystem) and system.conjugate
        return _Matrices(A, B, 2 * C if pairs else C, D)

    def simulate(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (L, H, p, c) for inputs (L, H, m, c) from the state zero; and the sum over the
        steps of the norm of the state, (c,)."""
        diagonal = self.A.ndim == 2
        state = np.zeros((*self.B.shape[:2], u.shape[-1]), np.result_type(self.A, self.B))
        y = np.empty((len(u), *self.D.shape[:2], u.shape[-1]))
        sizes = np.zeros(u.shape[-1])
        for t, now in enumerate(u):
            y[t] = np.real(self.C @ state) + np.real(self.D) @ now
            sizes += np.linalg.norm(state, axis=(0, 1))
            drive = self.B @ now
            state = (self.A[..., None] * state if diagonal else self.A @ state) + drive
        return y, sizes * OUTWARD

    def rounding(self, states: np.ndarray, inputs: np.ndarray, reach: float) -> np.ndarray:
        """What the rounding of a simulation adds to the error of each column of the outputs.

        A computed step is ``x' = A x + B u + r`` with ``|r| <= gamma (|A| |x| + |B| |u|)``, and r
        travels on like an input of the state. ``states`` and ``inputs``: sums of norms.
        """
        A, B, C, D = (_largest(x) for x in (self.A, self.B, self.C, self.D))
        unit = gamma(self.B.shape[1] + self.B.shape[2])
        stepwise = unit * (A * states + B * inputs)
        return (C * reach * stepwise + unit * (C * states + D * inputs)) * OUTWARD

    def reach(self, horizon: int) -> float:
        """A bound on the sum of ``||A^k||``, k < L.

        For a dense A the computed powers P_k satisfy ``P_{k+1} = A P_k + r_k`` with
        ``|r_k| <= gamma |A| |P_k|``, so that the sum s has ``s <= sum ||P_k|| + s sum ||r_k||``.
        """
        if self.A.ndim == 2:
            radius = _largest(self.A)
            return float((radius ** np.arange(horizon)).sum()) * OUTWARD
        unit, total = np.broadcast_to(np.eye(self.A.shape[1]), self.A.shape), 0.0
        power = unit
        for _ in range(horizon):
            total += _largest(power)
            power = self.A @ power
        left = gamma(self.A.shape[1]) * _largest(self.A) * total * OUTWARD
        return total * OUTWARD / (1 - left) if left < 0.5 else np.inf

    def impulse_gain(self, horizon: int) -> float:
        """A bound on ``sum_t ||h_t||`` over the horizon, h the impulse response."""
        heads, inputs = self.B.shape[0], self.B.shape[2]
        u = np.zeros((horizon, heads, inputs, inputs))
        u[0] = np.eye(inputs)
        h, states = self.simulate(u)
        size = float(np.linalg.norm(h, axis=(2, 3)).max(1).sum())
        impulses = np.full(inputs, np.sqrt(heads))
        errors = self.rounding(states, impulses, self.reach(horizon))
        return (size + float(errors.sum())) * OUTWARD


def _largest(matrices: np.ndarray) -> float:
    """The largest Frobenius norm of any head's matrix; of a diagonal, its largest modulus."""
    if not matrices.size:
        return 0.0
    if matrices.ndim == 2:
        return float(abs(matrices).max()) * OUTWARD
    return float(np.linalg.norm(matrices.reshape(len(matrices), -1), axis=1).max()) * OUTWARD


@dataclass(frozen=True)
class Spectrum:
    """``values`` (bins, d, columns) at the frequencies 2 pi k / N, 0 <= k <= N / 2, and for each
    column a bound (columns,) on the norm of its error at any of them."""

    values: np.ndarray
    errors: np.ndarray


def bins(horizon: int) -> int:
    """The number N of points of the transform: two sequences of the horizon's length do not
    overlap in their circular convolution."""
    return math.prod(_stages(horizon))


def _stages(horizon: int) -> tuple[int, int]:
    """Two factors of N: a transform in two stages takes a number of products in their sum."""
    least = 2 * horizon - 1
    if horizon <= _DIRECT:
        return 1, least
    first = math.isqrt(least - 1) + 1
    return first, -(-least // first)


def bin_weights(horizon: int) -> np.ndarray:
    """How often each of the frequencies of a :class:`Spectrum` stands in the whole transform,
    divided by N: the others are conjugate to them."""
    count = bins(horizon)
    often = np.full(count // 2 + 1, 2.0)
    often[0] = 1.0
    if count % 2 == 0:
        often[-1] = 1.0
    return often / count


def transform(response: Response) -> Spectrum:
    """The discrete Fourier transform of the N points of a response filled up with zeros, by
    products of matrices, so that its rounding is theirs.

    With ``t = n2 t1 + t2`` and ``k = k1 + n1 k2``, N = n1 n2, it is a transform over t1, a factor
    ``exp(-2 pi i t2 k1 / N)``, and a transform over t2 (Cooley and Tukey 1965). No stage makes the
    sum of the sizes of what it adds larger, so that their relative errors add up.
    """
    steps, rows, columns = response.values.shape
    n1, n2 = _stages(steps)
    filled = np.zeros((n1 * n2, rows * columns))
    filled[:steps] = response.values.reshape(steps, -1)
    values = (_waves(n1, n1, n1) @ filled.reshape(n1, -1)).reshape(n1, n2, -1)
    values = _waves(n1, n2, n1 * n2)[:, :, None] * values
    kept = n1 * n2 // 2 + 1
    values = (_waves(n2, n2, n2) @ values).swapaxes(0, 1).reshape(n1 * n2, -1)[:kept]
    unit = 4 * (gamma(n1) + gamma(n2) + gamma(1) + 3 * WAVE_ERROR)
    errors = (response.errors + unit * response.sizes) * OUTWARD
    return Spectrum(values.reshape(kept, rows, columns), errors)


def transform_work(horizon: int) -> float:
    """Multiplications of the transform of one number of each step."""
    n1, n2 = _stages(horizon)
    return 4.0 * n1 * n2 * (n1 + n2)


def _waves(rows: int, columns: int, points: int) -> np.ndarray:
    """exp(-2 pi i j k / points), (rows, columns)."""
    around = 2 * np.pi / points * np.arange(points)
    waves = np.cos(around) - 1j * np.sin(around)
    return waves[np.outer(np.arange(rows), np.arange(columns)) % points]
