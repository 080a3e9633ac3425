"""What a discretizer is: a pure function from a continuous to a discrete system, with facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Float64, Inexact
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssmbench.discretizers.facts import Facts, computed_facts
from ssmbench.registry import discretizers
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    ContinuousTimeVaryingDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    TimeVaryingDiagonal,
)
from ssmbench.transforms import functorch_active

__all__ = [
    "Discretizer",
    "Facts",
    "rounded",
    "rounded_up",
    "scaled_matrices",
    "scaled_modes",
    "with_ramp",
]

#: Numbers lam of a time-varying system that are discretized at a time: 4 MB in float32.
_PIECE = 2**20


Discrete = TypeVar("Discrete", DiscreteDiagonal, DiscreteDense)


class Discretizer(ABC):
    """Maps ``x' = A x + B u`` with step size dt to ``x[k+1] = A_bar x[k] + B_bar u[k]``.

    No method divides by A, so integrators (zero poles) are safe. Diagonal systems stay diagonal.
    """

    #: What figures do not say.
    note: ClassVar[str] = ""
    #: Whether the method integrates second-order systems, and nothing else.
    needs_oscillator: ClassVar[bool] = False

    def __init__(self, config: Any):
        self.config = config

    def __call__(
        self, system: ContinuousSystem | ContinuousTimeVaryingDiagonal
    ) -> DiscreteSystem | TimeVaryingDiagonal:
        """The discrete system of the same structure, copies, inputs, outputs and precision.

        Diagonal systems are discretized in double precision and rounded by :func:`rounded`, but for
        time-varying ones, whose steps are too many.

        Raises:
            UsageError: a system without oscillators, for a method that needs them.
        """
        if isinstance(system, ContinuousTimeVaryingDiagonal):
            return self.time_varying(system)
        if isinstance(system, ContinuousDiagonal):
            wide = any(t.dtype in _WIDE for t in (system.lam, system.B, system.C, system.D))
            exact = self.diagonal(system.double())
            return exact if wide else rounded(exact)
        if isinstance(system, ContinuousDense):
            return self.dense(system)
        if isinstance(system, ContinuousOscillator):
            return self.oscillator(system)
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
        way, kept for every step, would be many times the size of its result. (torch.func does not
        support that: there it is kept.)
        """
        size = max(1, system.batch * system.copies * system.states)
        steps = max(1, _PIECE // size)
        make = self._discretized if functorch_active() else self._made_again
        pieces = [make(piece) for piece in system.split(steps)]
        changed = {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
        own = {"C": system.C, "D": system.D} | changed
        return TimeVaryingDiagonal(conjugate=system.conjugate, **own)

    def _made_again(self, system: ContinuousTimeVaryingDiagonal) -> dict[str, Tensor]:
        return checkpoint(self._discretized, system, use_reentrant=False, preserve_rng_state=False)

    def _discretized(self, system: ContinuousTimeVaryingDiagonal) -> dict[str, Tensor]:
        """The tensors (B, L, H, ...) that the method does not leave as they are."""
        bank = system.bank()
        found = self.diagonal(bank).tensors()
        changed = {name: t for name, t in found.items() if t is not getattr(bank, name)}
        place = (system.batch, -1, system.copies)
        return {name: tensor.unflatten(0, place) for name, tensor in changed.items()}

    def oscillator(self, system: ContinuousOscillator) -> DiscreteSystem:
        """By the first-order form, unless the method has its own for second order."""
        return self(system.first_order())

    @cached_property
    def facts(self) -> Facts:
        """Computed, for these options, when first asked for."""
        return computed_facts(self, self.stability_function, self.note)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts under default options as plain values."""
        return asdict(next(e for e in discretizers if e.factory is cls).build().facts)

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


_WIDE = (torch.float64, torch.complex128)
#: Shrinks a stable pole that rounding to float32 would put onto the unit circle.
_INSIDE = 1 - 1.5e-7
#: Poles this close to the circle are on it, but for float64's rounding.
_UNDAMPED = 1e-13
#: Several roundings of float64.
_SLACK = 2.0**-48


def rounded(system: DiscreteDiagonal) -> DiscreteDiagonal:
    """The system in float32 and complex64, every mode with the gain that it had.

    Near the unit circle, rounding lam moves its distance to it, and with it the mode's gain: by 6%
    at 1 - |lam| = 1e-6. So B is scaled by (1 - |rounded|^2) / (1 - |lam|^2), a number near 1 that
    counts as constant in gradients. No stable pole is rounded onto the circle, and no undamped one
    into it, where its infinite gain would come out as 1e7.
    """
    real, complex_ = torch.float32, torch.complex64
    exact = system.lam.detach()
    lam = _on_its_side(exact, complex_ if exact.is_complex() else real)
    loss, kept = (1 - x.abs().double().square() for x in (exact, lam))
    scale = torch.where(loss > _UNDAMPED, kept / loss, 1.0)
    scaled = replace(
        system, lam=system.lam + (lam - system.lam).detach(), B=system.B * scale[..., None]
    )
    return scaled.map(lambda t: t.to(complex_ if t.is_complex() else real))


def _on_its_side(lam: Tensor, single: torch.dtype) -> Tensor:
    """lam rounded to single precision, on its side of the unit circle; in double."""
    nearest, inner = (x.to(single).to(lam.dtype) for x in (lam, lam * _INSIDE))
    loss = 1 - lam.abs().square()
    stable = torch.where((loss > 0) & (nearest.abs() >= 1), inner, nearest)
    return torch.where(loss.abs() <= _UNDAMPED, _outward(lam), stable)


def _outward(lam: Tensor) -> Tensor:
    """lam with magnitudes of its parts rounded up to float32; in double."""
    parts = torch.view_as_real(lam) if lam.is_complex() else lam
    parts = parts.sign() * rounded_up(parts.abs(), torch.float32).double()
    return torch.view_as_complex(parts) if lam.is_complex() else parts


def rounded_up(x: Float64[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """x >= 0, and a few of its roundings more, as the next number of the dtype above."""
    x = x + _SLACK
    nearest = x.to(dtype)
    above = torch.nextafter(nearest, torch.full_like(nearest, torch.inf))
    return torch.where(nearest.double() < x, above, nearest)


def with_ramp(held: Discrete, B1: Inexact[Tensor, "H N m"]) -> Discrete:
    """The causal form of ``x[k+1] = A x[k] + B u[k] + B1 u[k+1]`` with the same outputs.

    With x~ = x - B1 u: ``B~ = B + A B1``, ``D~ = D + C B1`` (Franklin, Powell, Workman 1998,
    section 6.3.2).
    """
    dtype = torch.promote_types(held.C.dtype, B1.dtype)
    direct = held.C.to(dtype) @ B1.to(dtype)
    if isinstance(held, DiscreteDiagonal):
        shift = held.lam[..., None] * B1
        direct = 2 * direct.real if held.conjugate else direct
    else:
        shift = held.A @ B1
    return replace(held, B=held.B + shift, D=held.D + direct)
