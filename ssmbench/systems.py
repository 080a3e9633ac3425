"""The currency: linear systems as typed values.

* continuous time: ``x'(t) = A x(t) + B u(t)``, ``y = C x + D u``, to be sampled at step ``dt``;
* discrete time: ``x[k+1] = A x[k] + B u[k]``, ``y[k] = C x[k] + D u[k]`` (control's convention:
  the output at step k sees inputs up to k - 1 through the state, and u[k] through D).

Every system is a *bank* of H independent copies with N states, m inputs and p outputs each, and is
either diagonal or dense. Time domain and structure are types, not flags. A diagonal system with
``conjugate=True`` stores one of each pair of complex conjugate modes: ``y = 2 Re(C x) + D u``.
A third structure, in continuous time only, is a bank of second-order oscillators.

A *time-varying* system has other matrices at each step of each sequence. It is no
:class:`LinearSystem`: it has poles and a gain only frozen in time (:meth:`TimeVaryingSystem.at`).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.errors import ShapeError

#: What analysis, normalisers and certificates say of a time-varying system.
FROZEN_ONLY = "time-varying: gain only frozen in time"

S = TypeVar("S", bound="LinearSystem")
V = TypeVar("V", bound="Value")


class Value:
    """What a system is as one value: its tensors by name, and maps of them all."""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by field name."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in fields if isinstance(value, Tensor)}

    def map(self: V, function) -> V:
        """The system with ``function`` applied to every tensor."""
        return dataclasses.replace(self, **{k: function(v) for k, v in self.tensors().items()})

    def double(self: V) -> V:
        """The system in float64 and complex128."""
        return self.map(lambda t: t.to(torch.complex128 if t.is_complex() else torch.float64))

    def detach(self: V) -> V:
        return self.map(Tensor.detach)

    def to(self: V, device: torch.device | str) -> V:
        return self.map(lambda t: t.to(device))

    def is_finite(self) -> bool:
        """Whether every entry is a finite number."""
        return all(bool(torch.isfinite(t).all()) for t in self.tensors().values())


#: Modes of a pair are kept apart only where h abs(Im lam) / max(1, h abs(lam)) exceeds this: the
#: residues of closer ones are large, of opposite sign, and cancel.
PAIR_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class LinearSystem(Value, ABC):
    """What all systems share: B (H, N, m), C (H, p, N), D (H, p, m) real or complex.

    Raises:
        ShapeError: the matrices do not fit together; the message says which, and what would fit.
    """

    B: Inexact[Tensor, "H N m"]
    C: Inexact[Tensor, "H p N"]
    D: Inexact[Tensor, "H p m"]

    def __post_init__(self) -> None:
        for name, tensor in self.tensors().items():
            expected = {"lam": 2, "a": 2, "g": 2, "dt": 1}.get(name, 3)
            if tensor.ndim != expected:
                raise ShapeError(
                    f"{type(self).__name__}.{name} needs {expected} dimensions, the first of them "
                    f"the bank of copies H; got shape {tuple(tensor.shape)}"
                )
        self._check_shapes()

    def _check_shapes(self) -> None:
        copies, states = self.copies, self.states
        inputs, outputs = self.B.shape[-1], self.C.shape[-2]
        wanted = {
            "B": (copies, states, inputs),
            "C": (copies, outputs, states),
            "D": (copies, outputs, inputs),
            "dt": (copies,),
            "A": (copies, states, states),
            **dict.fromkeys(("a", "g"), (copies, states)),
            "C_v": (copies, outputs, states),
        }
        for name, tensor in self.tensors().items():
            if name in wanted and tuple(tensor.shape) != wanted[name]:
                raise ShapeError(
                    f"{type(self).__name__}.{name} has shape {tuple(tensor.shape)}, but with "
                    f"H={copies} copies, N={states} states, m={inputs} inputs and p={outputs} "
                    f"outputs it must be {wanted[name]}"
                )

    # --- sizes ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def dynamics(self) -> Tensor:
        """lam (H, N), A (H, N, N), or a (H, N) of oscillators."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Number of modes of one copy, conjugates counted."""

    @property
    def copies(self) -> int:
        return self.dynamics.shape[0]

    @property
    def states(self) -> int:
        """Stored states N of one copy (half the order for conjugate pairs)."""
        return self.dynamics.shape[1]

    @property
    def inputs(self) -> int:
        """m, inputs of one copy."""
        return self.B.shape[-1]

    @property
    def outputs(self) -> int:
        """p, outputs of one copy."""
        return self.C.shape[-2]

    def copy(self: S, index: int) -> S:
        """One copy of the bank, as a bank of one."""
        return self.map(lambda t: t[index : index + 1])

    # --- analysis that every system answers ----------------------------------------------------

    @abstractmethod
    def to_dense(self) -> LinearSystem:
        """The same system with a dense A; real (2N states) for conjugate pairs."""

    @abstractmethod
    def poles(self) -> Complex[Tensor, "H order"]:
        """Eigenvalues of every copy, conjugates included."""

    @abstractmethod
    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        """Transfer matrix at complex points (H, W): s in continuous time, z in discrete time."""

    @abstractmethod
    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """Transfer matrix at real frequencies (W,), or (H, W) for one grid a copy."""

    def _points(self, points: Tensor) -> Tensor:
        return points if points.ndim == 2 else points.expand(self.copies, -1)


@dataclass(frozen=True, kw_only=True)
class DiagonalSystem(LinearSystem):
    """A diagonal: ``lam`` (H, N), and whether it stores one of each conjugate pair."""

    lam: Inexact[Tensor, "H N"]
    conjugate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conjugate and not self.lam.is_complex():
            raise ShapeError(
                f"{type(self).__name__}: conjugate=True stores one of each complex pair, so lam "
                f"must be complex; it is {self.lam.dtype}"
            )

    @property
    def dynamics(self) -> Tensor:
        return self.lam

    @property
    def order(self) -> int:
        return self.states * (2 if self.conjugate else 1)

    def poles(self) -> Complex[Tensor, "H order"]:
        lam = self.lam.to(torch.complex128)
        return torch.cat([lam, lam.conj()], -1) if self.conjugate else lam

    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        def modes(lam: Tensor, B: Tensor, C: Tensor) -> Tensor:
            resolvent = 1 / (points[:, :, None] - lam[:, None, :])
            return torch.einsum("hpn,hwn,hnm->hwpm", C.to(resolvent), resolvent, B.to(resolvent))

        total = modes(self.lam, self.B, self.C)
        if self.conjugate:
            total = total + modes(self.lam.conj(), self.B.conj(), self.C.conj())
        return total + self.D[:, None].to(total)

    def _dense_matrices(self) -> dict[str, Tensor]:
        if not self.conjugate:
            return {"A": torch.diag_embed(self.lam), "B": self.B, "C": self.C, "D": self.D}
        # x = (Re, Im) of each stored mode: 2 Re(C x) = [2 Re C, -2 Im C] x
        re, im = torch.diag_embed(self.lam.real), torch.diag_embed(self.lam.imag)
        B, C = self.B.to(self.lam.dtype), self.C.to(self.lam.dtype)
        return {
            "A": torch.cat([torch.cat([re, -im], -1), torch.cat([im, re], -1)], -2),
            "B": torch.cat([B.real, B.imag], -2),
            "C": torch.cat([2 * C.real, -2 * C.imag], -1),
            "D": self.D,
        }


@dataclass(frozen=True, kw_only=True)
class DenseSystem(LinearSystem):
    """Any A (H, N, N)."""

    A: Inexact[Tensor, "H N N"]

    @property
    def dynamics(self) -> Tensor:
        return self.A

    @property
    def order(self) -> int:
        return self.states

    def poles(self) -> Complex[Tensor, "H order"]:
        # A matrix that is not finite has no eigenvalues; its copy reports them at infinity.
        wide = torch.complex128 if self.A.is_complex() else torch.float64
        finite = torch.isfinite(self.A).all(-1).all(-1)
        safe = torch.where(finite[:, None, None], self.A, 0).to(wide)
        poles = torch.linalg.eigvals(safe)
        return torch.where(finite[:, None], poles, complex(math.inf, 0))

    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        dtype = torch.promote_types(points.dtype, torch.promote_types(self.A.dtype, torch.cfloat))
        eye = torch.eye(self.states, dtype=dtype, device=self.A.device)
        resolvent = points[:, :, None, None] * eye - self.A[:, None].to(dtype)
        B = self.B[:, None].to(dtype).expand(-1, points.shape[1], -1, -1)
        return self.C[:, None].to(dtype) @ torch.linalg.solve(resolvent, B) + self.D[:, None]

    def to_dense(self: S) -> S:
        """The system itself."""
        return self


@dataclass(frozen=True, kw_only=True)
class ContinuousSystem(LinearSystem):
    """``x' = A x + B u``; dt (H,) is the step size in the time unit of A, for the discretizer."""

    dt: Float[Tensor, " H"]

    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """G(i omega), omega in radians per time unit."""
        return self.response(self._points(1j * omega))

    def spectral_abscissa(self) -> Float[Tensor, " H"]:
        """Largest real part of a pole: stable when negative."""
        return self.poles().real.amax(-1)

    def is_stable(self) -> bool:
        return bool((self.spectral_abscissa() < 0).all())


@dataclass(frozen=True, kw_only=True)
class DiscreteSystem(LinearSystem):
    """``x[k+1] = A x[k] + B u[k]``."""

    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """G(e^{i omega}), omega in radians per sample."""
        return self.response(self._points(torch.exp(1j * omega)))

    def spectral_radius(self) -> Float[Tensor, " H"]:
        """Largest modulus of a pole: stable when below 1."""
        radius = self.poles().abs().amax(-1)
        return torch.where(torch.isnan(radius), math.inf, radius)

    def is_stable(self) -> bool:
        return bool((self.spectral_radius() < 1).all())


@dataclass(frozen=True, kw_only=True)
class ContinuousDense(DenseSystem, ContinuousSystem):
    """A (H, N, N), B (H, N, m), C (H, p, N), D (H, p, m), dt (H,)."""


@dataclass(frozen=True, kw_only=True)
class DiscreteDense(DenseSystem, DiscreteSystem):
    """A (H, N, N), B (H, N, m), C (H, p, N), D (H, p, m)."""


@dataclass(frozen=True, kw_only=True)
class ContinuousDiagonal(DiagonalSystem, ContinuousSystem):
    """lam (H, N), B (H, N, m), C (H, p, N), D (H, p, m), dt (H,)."""

    def to_dense(self) -> ContinuousDense:
        return ContinuousDense(dt=self.dt, **self._dense_matrices())

    def at_steps(self, factors: Float[Tensor, "B L"]) -> ContinuousTimeVaryingDiagonal:
        """This system sampled unevenly: dt factors[:, k] from sample k of a sequence to the next.

        Only dt takes memory for each step; the matrices are views.
        """
        place = factors.shape
        fixed = {
            name: tensor.expand(*place, *tensor.shape)
            for name, tensor in self.tensors().items()
            if name in ("lam", "B", "C")
        }
        dt = self.dt * factors[..., None].to(self.dt.dtype)
        return ContinuousTimeVaryingDiagonal(D=self.D, dt=dt, conjugate=self.conjugate, **fixed)


@dataclass(frozen=True, kw_only=True)
class DiscreteDiagonal(DiagonalSystem, DiscreteSystem):
    """lam (H, N), B (H, N, m), C (H, p, N), D (H, p, m)."""

    def to_dense(self) -> DiscreteDense:
        return DiscreteDense(**self._dense_matrices())


# --- oscillators --------------------------------------------------------------------------------


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


# --- time-varying systems -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TimeVaryingSystem(Value, ABC):
    """Diagonal matrices for every step of B sequences of L steps.

    lam (B, L, H, N), B (B, L, H, N, m), C (B, L, H, p, N), and D (H, p, m), or (B, L, H, p, m)
    where it varies too. What is one for all steps, sequences or copies may be an expanded view.

    Raises:
        ShapeError: the matrices do not fit together, or pairs of conjugates that are real.
    """

    lam: Inexact[Tensor, "B L H N"]
    B: Inexact[Tensor, "B L H N m"]
    C: Inexact[Tensor, "B L H p N"]
    D: Inexact[Tensor, "*time H p m"]
    conjugate: bool = False

    #: The system that it is at one time.
    frozen_type: ClassVar[type[DiagonalSystem]]

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.lam.ndim, self.B.ndim, self.C.ndim) != (4, 5, 5) or self.D.ndim not in (3, 5):
            raise ShapeError(f"{name} needs lam (B, L, H, N), B and C of 5 dimensions, D of 3 or 5")
        places, (states, inputs) = self.lam.shape[:3], self.B.shape[3:]
        wanted = {
            "lam": (*places, states),
            "B": (*places, states, inputs),
            "C": (*places, self.outputs, states),
            "D": (*(places if self.D.ndim == 5 else places[2:]), self.outputs, inputs),
            "dt": tuple(places),
        }
        for key, tensor in self.tensors().items():
            if tuple(tensor.shape) != wanted[key]:
                raise ShapeError(
                    f"{name}.{key} has shape {tuple(tensor.shape)}; with lam (B, L, H, N) = "
                    f"{tuple(self.lam.shape)}, m={inputs} and p={self.outputs} it must be "
                    f"{wanted[key]}"
                )
        if self.conjugate and not self.lam.is_complex():
            raise ShapeError(f"{name}: conjugate=True needs complex lam; it is {self.lam.dtype}")

    @property
    def dynamics(self) -> Tensor:
        """lam (B, L, H, N)."""
        return self.lam

    @property
    def batch(self) -> int:
        return self.lam.shape[0]

    @property
    def length(self) -> int:
        return self.lam.shape[1]

    @property
    def copies(self) -> int:
        return self.lam.shape[2]

    @property
    def states(self) -> int:
        """Stored states N of one copy."""
        return self.lam.shape[3]

    @property
    def inputs(self) -> int:
        return self.B.shape[-1]

    @property
    def outputs(self) -> int:
        return self.C.shape[-2]

    def during(self: T, steps: slice | list[int]) -> T:
        """The system at these steps only, of every sequence."""
        own = {k: t for k, t in self.tensors().items() if k != "D" or t.ndim == 5}
        return dataclasses.replace(self, **{k: t[:, steps] for k, t in own.items()})

    def split(self: T, steps: int) -> list[T]:
        """The system during each ``steps`` in turn; the last piece may be shorter."""
        own = {k: t for k, t in self.tensors().items() if k != "D" or t.ndim == 5}
        pieces = zip(*(t.split(steps, 1) for t in own.values()), strict=True)
        return [dataclasses.replace(self, **dict(zip(own, p, strict=True))) for p in pieces]

    def bank(self) -> DiagonalSystem:
        """Frozen in time: each step of each sequence as H copies of a bank of B L H."""
        D = self.D if self.D.ndim == 5 else self.D.expand(self.batch, self.length, -1, -1, -1)
        whole = {**self.tensors(), "D": D}
        parts = {name: tensor.flatten(0, 2) for name, tensor in whole.items()}
        return self.frozen_type(conjugate=self.conjugate, **parts)

    def at(self, b: int, k: int) -> DiagonalSystem:
        """Frozen in time: the time-invariant system with the matrices of sequence b at step k."""
        own = {n: t[b : b + 1] for n, t in self.tensors().items() if n != "D" or t.ndim == 5}
        return dataclasses.replace(self, **own).during([k]).bank()


T = TypeVar("T", bound=TimeVaryingSystem)


@dataclass(frozen=True, kw_only=True)
class TimeVaryingDiagonal(TimeVaryingSystem):
    """``x[k+1] = lam[k] x[k] + B[k] u[k]``, ``y[k] = C[k] x[k] + D u[k]``."""

    frozen_type = DiscreteDiagonal


@dataclass(frozen=True, kw_only=True)
class ContinuousTimeVaryingDiagonal(TimeVaryingSystem):
    """``x' = lam[k] x + B[k] u`` from sample k on, for the time dt[k] (B, L, H) to the next."""

    dt: Float[Tensor, "B L H"]

    frozen_type = ContinuousDiagonal

    def at_steps(self, factors: Float[Tensor, "B L"]) -> ContinuousTimeVaryingDiagonal:
        """The same system, the time from sample k to the next multiplied by factors[:, k]."""
        return dataclasses.replace(self, dt=self.dt * factors[..., None].to(self.dt.dtype))
