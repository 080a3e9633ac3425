"""Banks of second-order oscillators, in continuous time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.systems.lti import ContinuousDense, ContinuousDiagonal, ContinuousSystem

#: Modes of a pair are kept apart only where h abs(Im lam) / max(1, h abs(lam)) exceeds this: the
#: residues of closer ones are large, of opposite sign, and cancel.
PAIR_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class ContinuousOscillator(ContinuousSystem):
    """``q'' = -a q - g q' + B u``, ``y = C q + C_v q' + D u``: N oscillators a copy, order 2 N.

    All real: stiffness a (H, N) in 1 / time^2, damping g (H, N) in 1 / time, force B (H, N, m),
    C (H, p, N) reads positions and C_v (H, p, N) velocities, D (H, p, m), dt (H,).
    """

    a: Float[Tensor, "H N"]
    g: Float[Tensor, "H N"]
    C_v: Float[Tensor, "H p N"]

    @property
    def dynamics(self) -> Tensor:
        return self.a

    @property
    def order(self) -> int:
        return 2 * self.states

    def poles(self) -> Complex[Tensor, "H order"]:
        a, g = self.a.double(), self.g.double()
        root = (g.square() / 4 - a).to(torch.complex128).sqrt()
        far = -g / 2 - root
        # Overdamped: the near root as the quotient a / far, whose sign no rounding turns.
        overdamped = (root.real > 0) & (g > 0)
        quotient = a / torch.where(overdamped, far, 1)
        return torch.cat([torch.where(overdamped, quotient, -g / 2 + root), far], -1)

    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        s = points[:, :, None]
        force = 1 / (s.square() + self.g[:, None] * s + self.a[:, None])
        read = self.C[:, None] + s[..., None] * self.C_v[:, None]
        G = torch.einsum("hwpn,hwn,hnm->hwpm", read.to(force), force, self.B.to(force))
        return G + self.D[:, None].to(G)

    def to_dense(self) -> ContinuousDense:
        """States (q_1, q_1', q_2, q_2', ...), so that A is block diagonal."""
        zero, one = torch.zeros_like(self.a), torch.ones_like(self.a)
        blocks = torch.stack([zero, one, -self.a, -self.g], -1).unflatten(-1, (2, 2))
        return ContinuousDense(
            A=block_diagonal(blocks),
            B=torch.stack([torch.zeros_like(self.B), self.B], 2).flatten(1, 2),
            C=torch.stack([self.C, self.C_v], -1).flatten(-2),
            D=self.D,
            dt=self.dt,
        )

    def first_order(self) -> ContinuousDiagonal | ContinuousDense:
        """The same system as conjugate pairs (H, N) where every oscillator is clearly underdamped
        (see :data:`PAIR_MARGIN`); else dense, which also holds double and real poles."""
        stiffness = (self.dt[:, None].square() * self.a).detach()
        damping = (self.dt[:, None] * self.g).detach()
        frequency = stiffness - damping.square() / 4
        underdamped = frequency > PAIR_MARGIN**2 * stiffness.clamp_min(1)
        return self._pairs() if bool(underdamped.all()) else self.to_dense()

    def _pairs(self) -> ContinuousDiagonal:
        """Residues (C + lam C_v) B / (lam - conj lam), with B kept as it is."""
        omega = (self.a - self.g.square() / 4).sqrt()
        lam = torch.complex(-self.g / 2, omega)
        return ContinuousDiagonal(
            lam=lam,
            B=self.B.to(lam.dtype),
            C=(self.C + lam[:, None] * self.C_v) / (2j * omega[:, None]),
            D=self.D,
            dt=self.dt,
            conjugate=True,
        )


def block_diagonal(blocks: Inexact[Tensor, "H N k k"]) -> Inexact[Tensor, "H Nk Nk"]:
    """The matrices (H, N k, N k) with N blocks on their diagonals."""
    spread = torch.diag_embed(blocks.movedim(1, -1))  # (H, k, k, N, N)
    return spread.permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)
