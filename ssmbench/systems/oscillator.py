"""Second-order oscillators, in continuous time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Inexact
from torch import Tensor

from ssmbench.systems.lti import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DiscreteDense,
    DiscreteDiagonal,
)

#: The modes of a pair are treated separately only where h abs(Im lam) / max(1, h abs(lam)) exceeds
#: this: closer modes have large residues of opposite sign, which cancel.
PAIR_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class ContinuousOscillator(ContinuousSystem):
    """``q'' = -a q - g q' + B u``, ``y = C q + C_v q' + D u``: N oscillators per head, order 2 N.

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
        # Overdamped: the root nearer to 0 is a / far, whose sign rounding cannot change.
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
        """The same system as conjugate pairs (H, N) if every oscillator is :meth:`underdamped`;
        else dense, a form that also covers double and real poles."""
        return self.conjugate_pairs() if bool(self.underdamped().all()) else self.to_dense()

    def underdamped(self) -> Bool[Tensor, " N"]:
        """Which oscillators are clearly underdamped in every head; see :data:`PAIR_MARGIN`."""
        stiffness = (self.dt[:, None].square() * self.a).detach()
        damping = (self.dt[:, None] * self.g).detach()
        frequency = stiffness - damping.square() / 4
        return (frequency > PAIR_MARGIN**2 * stiffness.clamp_min(1)).all(0)

    def only(self, oscillators: Bool[Tensor, " N"]) -> ContinuousOscillator:
        """The system of these oscillators alone."""
        states = {name: getattr(self, name)[:, oscillators] for name in ("a", "g", "B")}
        outputs = {name: getattr(self, name)[..., oscillators] for name in ("C", "C_v")}
        return dataclasses.replace(self, **states, **outputs)

    def conjugate_pairs(self) -> ContinuousDiagonal:
        """One pair of modes per oscillator, all of which must be underdamped.

        The residues are (C + lam C_v) B / (lam - conj lam), with B unchanged."""
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


def interleaved(
    pairs: DiscreteDiagonal, others: DiscreteDense, is_pair: Bool[Tensor, " N"]
) -> DiscreteDense:
    """Two systems in parallel (outputs added), with states in the order of the oscillators.

    ``others`` has two states for each oscillator that is not a pair. The result has the two states
    of the first oscillator, then those of the second, and so on: 2 N per head.
    """
    first, second = pairs.to_dense(), others
    P, R = pairs.states, others.states // 2
    pair_index, other_index = (m.nonzero()[:, 0].tolist() for m in (is_pair, ~is_pair))
    place = torch.tensor(pair_index + other_index).argsort().to(is_pair.device)
    re, im = pairs.lam.real, pairs.lam.imag
    rotations = torch.stack([re, -im, im, re], -1).unflatten(-1, (2, 2))
    rest = second.A.reshape(-1, R, 2, R, 2).diagonal(dim1=1, dim2=3).movedim(-1, 1)
    B = torch.cat([first.B.unflatten(1, (2, P)).transpose(1, 2), second.B.unflatten(1, (R, 2))], 1)
    C = torch.cat([first.C.unflatten(2, (2, P)).transpose(2, 3), second.C.unflatten(2, (R, 2))], 2)
    return DiscreteDense(
        A=block_diagonal(torch.cat([rotations, rest], 1)[:, place]),
        B=B[:, place].flatten(1, 2),
        C=C[:, :, place].flatten(2, 3),
        D=first.D + second.D,
        pairs=tuple(pair_index),
    )
