"""Time-invariant systems: diagonal or dense, in continuous or in discrete time."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.errors import ShapeError
from ssmbench.linalg.precision import to_double
from ssmbench.systems.base import LinearSystem, S

Diagonal = TypeVar("Diagonal", bound="DiagonalSystem")
Dense = TypeVar("Dense", bound="DenseSystem")


@dataclass(frozen=True, kw_only=True)
class DiagonalSystem(LinearSystem):
    """A diagonal A: ``lam`` (H, N); ``conjugate``: it stores one of each conjugate pair."""

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

    def with_dynamics(self: Diagonal, lam: Inexact[Tensor, "H N"]) -> Diagonal:
        """The system with other modes."""
        return replace(self, lam=lam)

    def repeated_pole(self, pole: float) -> Inexact[Tensor, " N"]:
        """The modes of a head all of whose poles are one real number."""
        return self.lam.new_full((self.states,), pole)

    def is_real(self) -> bool:
        return not self.D.is_complex() if self.conjugate else super().is_real()

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

    def _dense_matrices(self) -> dict[str, Any]:
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
    """A dense A (H, N, N)."""

    A: Inexact[Tensor, "H N N"]

    @property
    def dynamics(self) -> Tensor:
        return self.A

    def with_dynamics(self: Dense, A: Inexact[Tensor, "H N N"]) -> Dense:
        """The system with another state matrix."""
        return replace(self, A=A)

    def repeated_pole(self, pole: float) -> Inexact[Tensor, "N N"]:
        """The diagonal state matrix of a head all of whose poles are one real number."""
        return pole * torch.eye(self.states, dtype=self.A.dtype, device=self.A.device)

    @property
    def order(self) -> int:
        return self.states

    def poles(self) -> Complex[Tensor, "H order"]:
        # A matrix that is not finite has no eigenvalues: the poles of its head are set to infinity.
        finite = torch.isfinite(self.A).all(-1).all(-1)
        safe = to_double(torch.where(finite[:, None, None], self.A, 0))
        poles = _eigenvalues(safe)
        return torch.where(finite[:, None], poles, complex(math.inf, 0))

    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        dtype = torch.promote_types(points.dtype, torch.promote_types(self.A.dtype, torch.cfloat))
        eye = torch.eye(self.states, dtype=dtype, device=self.A.device)
        resolvent = points[:, :, None, None] * eye - self.A[:, None].to(dtype)
        B = self.B[:, None].to(dtype).expand(-1, points.shape[1], -1, -1)
        states, _ = torch.linalg.solve_ex(resolvent, B)  # not finite at a pole
        return self.C[:, None].to(dtype) @ states + self.D[:, None]

    def to_dense(self: S) -> S:
        """The system itself."""
        return self


def _largest(values: Float[Tensor, "H order"], of_none: float) -> Float[Tensor, " H"]:
    """The largest value of each row, at least ``of_none``, which is the result for an empty row."""
    return torch.nn.functional.pad(values, (1, 0), value=of_none).amax(-1)


def _eigenvalues(A: Tensor) -> Tensor:
    """Eigenvalues (H, N) of matrices; NaN where the iteration does not converge."""
    try:
        return torch.linalg.eigvals(A)
    except torch.linalg.LinAlgError:
        if len(A) == 1:
            return torch.full(A.shape[:2], complex(math.nan, 0), dtype=torch.complex128)
        return torch.cat([_eigenvalues(one) for one in A.split(1)])


@dataclass(frozen=True, kw_only=True)
class ContinuousSystem(LinearSystem):
    """``x' = A x + B u``; dt (H,) is the discretizer's step size, in the time unit of A."""

    stable_pole = -1.0
    dt: Float[Tensor, " H"]

    @staticmethod
    def boundary_point(omega: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        return torch.complex(torch.zeros_like(omega), omega)

    @staticmethod
    def frequency_of(points: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return points.imag

    @staticmethod
    def gap_of(poles: Inexact[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return -poles.real

    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """G(i omega), omega in radians per time unit."""
        return self.response(self._points(1j * omega))

    @abstractmethod
    def to_dense(self) -> ContinuousDense: ...

    def spectral_abscissa(self) -> Float[Tensor, " H"]:
        """Largest real part of the poles: stable when negative; -inf for a static gain (N = 0)."""
        return _largest(self.poles().real, -math.inf)

    def is_stable(self) -> bool:
        return bool((self.spectral_abscissa() < 0).all())


@dataclass(frozen=True, kw_only=True)
class DiscreteSystem(LinearSystem):
    """``x[k+1] = A x[k] + B u[k]``."""

    stable_pole = 0.0

    @staticmethod
    def boundary_point(omega: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        return torch.polar(torch.ones_like(omega), omega)

    @staticmethod
    def frequency_of(points: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return points.angle()

    @staticmethod
    def gap_of(poles: Inexact[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return 1 - poles.abs()

    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """G(e^{i omega}), omega in radians per sample."""
        return self.response(self._points(torch.exp(1j * omega)))

    @abstractmethod
    def to_dense(self) -> DiscreteDense: ...

    def spectral_radius(self) -> Float[Tensor, " H"]:
        """Largest modulus of the poles: stable when below 1; 0 for a static gain (N = 0)."""
        radius = _largest(self.poles().abs(), 0.0)
        return torch.where(torch.isnan(radius), math.inf, radius)

    def is_stable(self) -> bool:
        return bool((self.spectral_radius() < 1).all())


@dataclass(frozen=True, kw_only=True)
class ContinuousDense(DenseSystem, ContinuousSystem):
    """A (H, N, N), B (H, N, m), C (H, p, N), D (H, p, m), dt (H,)."""


@dataclass(frozen=True, kw_only=True)
class DiscreteDense(DenseSystem, DiscreteSystem):
    """A (H, N, N), B (H, N, m), C (H, p, N), D (H, p, m).

    ``pairs``: indices of blocks. If there are any, A is block diagonal with 2 x 2 blocks, and the
    named blocks are conjugate pairs, ``[[Re lam, -Im lam], [Im lam, Re lam]]``; see :meth:`split`.
    """

    pairs: tuple[int, ...] = ()

    def split(self) -> tuple[DiscreteDiagonal, DiscreteDense]:
        """The P pairs, as a diagonal system, and the rest, which has D = 0: their outputs add up to
        those of the system. :meth:`joined_states` joins their states."""
        even = torch.tensor(self.pairs, device=self.A.device) * 2
        rest = torch.tensor(self._others(), device=self.A.device)
        modes = DiscreteDiagonal(
            lam=torch.complex(self.A[:, even, even], self.A[:, even + 1, even]),
            B=torch.complex(self.B[:, even], self.B[:, even + 1]),
            C=torch.complex(self.C[..., even], -self.C[..., even + 1]) / 2,
            D=self.D,
            conjugate=True,
        )
        others = DiscreteDense(
            A=self.A[:, rest[:, None], rest],
            B=self.B[:, rest],
            C=self.C[..., rest],
            D=torch.zeros_like(self.D),
        )
        return modes, others

    def split_states(self, x: Inexact[Tensor, "B H N"]) -> tuple[Tensor, Tensor]:
        """States of the two systems of :meth:`split`: (B, H, P) complex, and the rest."""
        pairs = x.unflatten(-1, (self.states // 2, 2))[..., list(self.pairs), :]
        return torch.view_as_complex(pairs.contiguous()), x[..., self._others()]

    def joined_states(self, pairs: Tensor, others: Tensor) -> Inexact[Tensor, "B H N"]:
        """The inverse of :meth:`split_states`."""
        even = [2 * pair for pair in self.pairs]
        order = torch.tensor(even + [k + 1 for k in even] + self._others())
        whole = torch.cat([pairs.real, pairs.imag, others], -1)
        return whole[..., torch.argsort(order).to(whole.device)]

    def _others(self) -> list[int]:
        """States outside the pairs."""
        pairs = set(self.pairs)
        return [k for k in range(self.states) if k // 2 not in pairs]


@dataclass(frozen=True, kw_only=True)
class ContinuousDiagonal(DiagonalSystem, ContinuousSystem):
    """lam (H, N), B (H, N, m), C (H, p, N), D (H, p, m), dt (H,)."""

    def to_dense(self) -> ContinuousDense:
        return ContinuousDense(dt=self.dt, **self._dense_matrices())


@dataclass(frozen=True, kw_only=True)
class DiscreteDiagonal(DiagonalSystem, DiscreteSystem):
    """lam (H, N), B (H, N, m), C (H, p, N), D (H, p, m)."""

    def to_dense(self) -> DiscreteDense:
        return DiscreteDense(**self._dense_matrices())


#: Every kind of time-invariant system in discrete time.
DiscreteLTI = DiscreteDiagonal | DiscreteDense
