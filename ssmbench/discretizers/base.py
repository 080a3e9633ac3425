"""What a discretizer is: a pure function from a continuous to a discrete system, with facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssmbench.registry import NoOptions
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    ContinuousTimeVaryingDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    TimeVaryingDiagonal,
)

#: Numbers lam of a time-varying system that are discretized at a time: 4 MB in float32.
_PIECE = 2**20


@dataclass(frozen=True)
class Facts:
    """What a discretizer promises; every one is tested against measurement.

    ``order`` is that of the stability function: ``R(z) = e^z + O(z^(order+1))``; infinite where the
    poles are exact. ``real_interval`` is the largest r for which R is stable on [-r, 0].
    """

    order: int | float
    a_stable: bool
    l_stable: bool
    preserves_gain: bool
    real_interval: int | float
    note: str = ""


class Discretizer(ABC):
    """Maps ``x' = A x + B u`` with step size dt to ``x[k+1] = A_bar x[k] + B_bar u[k]``.

    No method divides by A, so integrators (zero poles) are safe. Diagonal systems stay diagonal.
    """

    facts: ClassVar[Facts]

    def __init__(self, config: NoOptions):
        self.config = config

    def __call__(
        self, system: ContinuousSystem | ContinuousTimeVaryingDiagonal
    ) -> DiscreteSystem | TimeVaryingDiagonal:
        """The discrete system of the same structure, copies, inputs and outputs."""
        if isinstance(system, ContinuousTimeVaryingDiagonal):
            return self.time_varying(system)
        if isinstance(system, ContinuousDiagonal):
            return self.diagonal(system)
        if isinstance(system, ContinuousDense):
            return self.dense(system)
        raise TypeError(f"no discretization for {type(system).__name__}")

    @abstractmethod
    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        """Elementwise in lam (H, N)."""

    @abstractmethod
    def dense(self, system: ContinuousDense) -> DiscreteDense:
        """By matrices A (H, N, N)."""

    def time_varying(self, system: ContinuousTimeVaryingDiagonal) -> TimeVaryingDiagonal:
        """Step by step: each step's matrices and dt as a copy of a bank.

        A method that changes C or D (Tustin's) keeps the state in coordinates that depend on dt:
        where dt varies it is of order 1 only, whatever its order is for a constant dt.

        In pieces, made again in the backward pass: what a method computes on the
        way, kept for every step, would be many times the size of its result.
        """
        size = max(1, system.batch * system.copies * system.states)
        pieces = [
            checkpoint(self._discretized, piece, use_reentrant=False, preserve_rng_state=False)
            for piece in system.split(max(1, _PIECE // size))
        ]
        changed = {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
        own = {"C": system.C, "D": system.D} | changed
        return TimeVaryingDiagonal(conjugate=system.conjugate, **own)

    def _discretized(self, system: ContinuousTimeVaryingDiagonal) -> dict[str, Tensor]:
        """The tensors (B, L, H, ...) that the method does not leave as they are."""
        bank = system.bank()
        found = self.diagonal(bank).tensors()
        changed = {name: t for name, t in found.items() if t is not getattr(bank, name)}
        place = (system.batch, -1, system.copies)
        return {name: tensor.unflatten(0, place) for name, tensor in changed.items()}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts as plain values."""
        return asdict(cls.facts)

    def stability_function(self, z: Inexact[Tensor, " Z"]) -> Inexact[Tensor, " Z"]:
        """R(z): what one step multiplies a mode with h lam = z by."""
        one = torch.ones(len(z), 1, 1, dtype=z.dtype)
        step = torch.ones(len(z), dtype=z.real.dtype)
        system = ContinuousDiagonal(lam=z[:, None], B=one, C=one, D=0 * one, dt=step)
        return self.diagonal(system).lam[:, 0]


def scaled_modes(system: ContinuousDiagonal) -> tuple[Tensor, Tensor]:
    """h lam (H, N) and h B (H, N, m)."""
    return system.dt[:, None] * system.lam, system.dt[:, None, None] * system.B


def scaled_matrices(system: ContinuousDense) -> tuple[Tensor, Tensor, Tensor]:
    """h A (H, N, N), h B (H, N, m) and the identity (N, N)."""
    h = system.dt[:, None, None]
    eye = torch.eye(system.states, dtype=system.A.dtype, device=system.A.device)
    return h * system.A, h * system.B, eye
