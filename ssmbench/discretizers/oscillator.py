"""Structure-preserving integrators of oscillators q'' = -a q - g q' + B u.

Without damping, one step is symplectic: its determinant is 1, an energy close to the true one is
conserved, and both multipliers of an oscillator have modulus 1 as long as h sqrt(a) < 2. On the
unit circle the gain is infinite, and for larger steps the oscillation grows: both are reported.

One step acts on (q, w), w = h q', in which all coefficients are dimensionless: s = h^2 a, c = h g,
and the force h^2 B u, held over the step.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.discretizers.base import Discretizer, Facts, by_kind
from ssmbench.discretizers.rounding import placed, rounded_up
from ssmbench.errors import UsageError
from ssmbench.linalg.precision import straight_through
from ssmbench.registry import discretizers
from ssmbench.systems import (
    PAIR_MARGIN,
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteLTI,
    block_diagonal,
)

# Several roundings of float64.
_SLACK = 2.0**-48

Blocks = Float[Tensor, "H N 2 2"]
Forces = Float[Tensor, "H N 2"]


class OscillatorDiscretizer(Discretizer):
    """One step of every oscillator is a real 2 x 2 matrix; see :meth:`oscillator`."""

    accepts = ContinuousOscillator
    accepts_what = "oscillators q'' = -a q - g q' + B u, such as those of linoss"

    @staticmethod
    @abstractmethod
    def step(s: Float[Tensor, "H N"], c: Float[Tensor, "H N"]) -> tuple[Blocks, Forces]:
        """The matrix of one step on (q, w) (H, N, 2, 2), and of a held force (H, N, 2)."""

    def oscillator(self, system: ContinuousOscillator) -> DiscreteLTI:
        """Conjugate pairs (H, N) where every pair of multipliers is clearly complex, else dense.

        The dense form, (H, 2N, 2N), also holds multipliers that are equal (h sqrt(a) = 0 or 2: no
        eigenvectors to go by) or real (an oscillator that grows), whose states are (q, w).
        """
        M, _ = self._steps(system)
        is_pair = (_discriminant(M.detach()) > PAIR_MARGIN**2).all(0)
        return by_kind(system, is_pair, self._pairs, self._dense)

    def _steps(self, system: ContinuousOscillator) -> tuple[Blocks, Forces]:
        h = system.dt.double()[:, None]
        return self.step(h.square() * system.a.double(), h * system.g.double())

    def _pairs(self, system: ContinuousOscillator) -> DiscreteDiagonal:
        return _pairs(system, *self._steps(system), *_input_and_output_matrices(system))

    def _dense(self, system: ContinuousOscillator) -> DiscreteDense:
        return _dense(system, *self._steps(system), *_input_and_output_matrices(system))

    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        """Refused."""
        raise self._refusal()

    def dense(self, system: ContinuousDense) -> DiscreteDense:
        """Refused."""
        raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError(
            f"{type(self).__name__} samples only {self.accepts_what}: it has no form for "
            "first-order systems"
        )

    def stability_function(self, z: Inexact[Tensor, " Z"]) -> Complex[Tensor, " Z"]:
        """The multiplier, for a step of size 1, of the oscillator with the poles z and conj z.

        For a complex pair it is the multiplier on z's side of the real axis, for a real pair the
        larger of the two.
        """
        M, _ = self.step(z.abs().square()[None], -2 * z.real[None])
        middle = M.diagonal(dim1=-2, dim2=-1).mean(-1)[0]
        root = (-_discriminant(M)[0]).to(torch.complex128).sqrt()
        lower = torch.where(root.real > 0, middle < 0, z.to(torch.complex128).imag < 0)
        return middle + torch.where(lower, -root, root)


@discretizers.register(
    "symplectic_euler",
    citation="Hairer, Lubich, Wanner 2006, Geometric Numerical Integration, section I.1.2; as "
    "LinOSS-IMEX: Rusch and Rus 2024, Oscillatory State-Space Models, arXiv 2410.03943; damping "
    "implicit as in Boyer, Rusch, Rus 2025, arXiv 2505.12171",
)
class SymplecticEuler(OscillatorDiscretizer):
    """LinOSS-IMEX: v += h (-a q - g v_new + B u), then q += h v_new; oscillators only."""

    facts: Facts = Facts(
        order=1,
        a_stable=False,
        l_stable=False,
        preserves_gain=False,
        real_interval=2 + 2 * 2**0.5,
        note="oscillators only; stable for h^2 a <= 4 + 2 h g, and with g = 0 on the unit circle",
    )

    @staticmethod
    def step(s: Float[Tensor, "H N"], c: Float[Tensor, "H N"]) -> tuple[Blocks, Forces]:
        r = 1 / (1 + c)
        M = torch.stack([1 - s * r, r, -s * r, r], -1).unflatten(-1, (2, 2))
        return M, torch.stack([r, r], -1)


@discretizers.register(
    "stormer_verlet",
    citation="Hairer, Lubich, Wanner 2006, Geometric Numerical Integration, section I.1.4",
)
class StormerVerlet(OscillatorDiscretizer):
    """Half kick, drift, half kick (damping implicit, then explicit); oscillators only."""

    facts: Facts = Facts(
        order=2,
        a_stable=False,
        l_stable=False,
        preserves_gain=False,
        real_interval=2,
        note="oscillators only; stable for h^2 a <= 4, and with g = 0 on the unit circle",
    )

    @staticmethod
    def step(s: Float[Tensor, "H N"], c: Float[Tensor, "H N"]) -> tuple[Blocks, Forces]:
        r = 1 / (1 + c / 2)
        keep = (1 - c / 2) * r
        drift = 1 - s * r / 2  # dq_new / dq
        rows = [drift, r, -s * keep / 2 - s * drift / 2, keep - s * r / 2]
        M = torch.stack(rows, -1).unflatten(-1, (2, 2))
        return M, torch.stack([r, 1 + keep - s * r / 2], -1) / 2


# --- from steps to systems ----------------------------------------------------------------------


def _discriminant(M: Blocks) -> Float[Tensor, "H N"]:
    """sin^2 of the angle times the determinant, negative for real multipliers: -((p - t)/2)^2 - qr
    of [[p, q], [r, t]]."""
    half = (M[..., 0, 0] - M[..., 1, 1]) / 2
    return -(half.square() + M[..., 0, 1] * M[..., 1, 0])


def _input_and_output_matrices(system: ContinuousOscillator) -> tuple[Tensor, Tensor, Tensor]:
    """h^2 B, and the output matrices of q and w, in double precision."""
    h = system.dt.double()[:, None, None]
    return h.square() * system.B.double(), system.C.double(), system.C_v.double() / h


def _pairs(
    system: ContinuousOscillator, M: Blocks, F: Forces, B: Tensor, C: Tensor, C_w: Tensor
) -> DiscreteDiagonal:
    """With mu = tau + i sigma, the right eigenvector is (q, mu - p) and the left one (mu - t, q);
    their product is 2 i q sigma."""
    p, q, t = M[..., 0, 0], M[..., 0, 1], M[..., 1, 1]
    sigma = _discriminant(M).sqrt()
    mu = torch.complex((p + t) / 2, sigma)
    force = ((mu - t) * F[..., 0] + q * F[..., 1]) / (2j * q * sigma)
    dtype = system.D.dtype
    # |mu|^2 = det M is below 1 where there is damping, and exactly 1 where there is none.
    value = placed(mu.detach(), system.g.double().sign(), dtype)
    lam = straight_through(torch.view_as_real(mu).to(dtype), torch.view_as_real(value).to(dtype))
    complex_ = torch.promote_types(dtype, torch.complex64)
    return DiscreteDiagonal(
        lam=torch.view_as_complex(lam),
        B=(force[..., None] * B).to(complex_),
        C=(C * q[:, None] + C_w * (mu - p)[:, None]).to(complex_),
        D=system.D,
        conjugate=True,
    )


def _dense(
    system: ContinuousOscillator, M: Blocks, F: Forces, B: Tensor, C: Tensor, C_w: Tensor
) -> DiscreteDense:
    dtype = system.D.dtype
    rounded = _preserve_determinant(M.detach(), system.g, dtype)
    return DiscreteDense(
        A=block_diagonal(straight_through(M.to(dtype), rounded)),
        B=(F[..., None] * B[:, :, None]).flatten(1, 2).to(dtype),
        C=torch.stack([C, C_w], -1).flatten(-2).to(dtype),
        D=system.D,
    )


def _preserve_determinant(M: Blocks, g: Tensor, dtype: torch.dtype) -> Blocks:
    """M rounded to ``dtype`` so that its determinant stays on the right side of 1: at least 1 where
    the damping g is 0, below 1 where g > 0 (and the velocity keeps its sign within one step)."""
    rounded = M.to(dtype)
    p, q, r, t = rounded.double().flatten(-2).unbind(-1)
    volume = p * t - q * r
    lowered = -rounded_up((1 - p * t) / q, dtype)
    undamped = (g == 0) & (r != 0) & (volume < 1 + _SLACK)
    rounded[..., 1, 0] = torch.where(undamped, lowered, rounded[..., 1, 0])
    slower = torch.nextafter(rounded[..., 1, 1], torch.zeros_like(rounded[..., 1, 1]))
    damped = (g > 0) & (volume >= 1) & (p > 0)
    rounded[..., 1, 1] = torch.where(damped, slower, rounded[..., 1, 1])
    return rounded
