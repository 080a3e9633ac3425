"""Inputs that a system was seen to have, and how far they move its states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.errors import require
from ssmbench.lengths import valid_steps
from ssmbench.systems import DiscreteDense


@dataclass(frozen=True)
class RecordedInputs:
    """Inputs ``u`` (N, L, H m) of H heads with m channels each, from the zero state; ``lengths``
    (N,): the steps of each before its padding, None if there is none.

    Raises:
        UsageError: there is no step, or an input is not finite.
    """

    u: Float[Tensor, "N L d"]
    lengths: Int[Tensor, " N"] | None = None

    def __post_init__(self) -> None:
        require(self.u.numel() > 0, "recorded inputs: at least one step is needed")
        require(bool(self._masked().isfinite().all()), "recorded inputs: an entry is not finite")

    @property
    def steps(self) -> int:
        """How many they are, without padding."""
        sequences, longest = self.u.shape[:2]
        return sequences * longest if self.lengths is None else int(self.lengths.sum())

    def power(self, heads: int) -> Float[Tensor, " H"]:
        """The mean over steps and channels of the square of each head's input."""
        energy = self._masked().double().square().sum((0, 1)).unflatten(0, (heads, -1))
        return energy.mean(-1) / self.steps

    def state_covariance(self, system: DiscreteDense) -> Float[Tensor, "H n n"]:
        """The mean over all steps of x x^T, where x is the state of a real system in float64; the
        steps of each sequence are those of its output, at the first of which x is zero.

        Raises:
            UsageError: the inputs have another number of channels than the system.
        """
        wanted, found = system.heads * system.inputs, self.u.shape[-1]
        require(found == wanted, f"recorded inputs: {found} channels for a system of {wanted}")
        u = self._masked().double().unflatten(-1, (system.heads, -1)).permute(1, 2, 0, 3)
        x = u.new_zeros(system.heads, u.shape[2], system.states)
        total, A, B = u.new_zeros(system.A.shape), system.A.mT, system.B.mT
        for step, now in zip(self._valid(), u, strict=True):
            valid = x * step[:, None]
            total.baddbmm_(valid.mT, valid)
            x = torch.baddbmm(now @ B, x, A)
        return total / self.steps

    def _valid(self) -> Float[Tensor, "L N"]:
        """1 at the steps of each sequence, 0 in its padding."""
        sequences, longest = self.u.shape[:2]
        if self.lengths is None:
            return self.u.new_ones(longest, sequences).double()
        return valid_steps(self.lengths, longest).T.double()

    def _masked(self) -> Float[Tensor, "N L d"]:
        """The inputs, zero in the padding whatever is there."""
        if self.lengths is None:
            return self.u
        inside = valid_steps(self.lengths, self.u.shape[1])
        return torch.where(inside[..., None], self.u, 0.0)
