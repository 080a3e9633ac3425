"""Systems whose matrices differ from step to step and from sequence to sequence."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssmbench.errors import ShapeError
from ssmbench.systems.base import Value
from ssmbench.systems.lti import (
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
)


@dataclass(frozen=True, kw_only=True)
class TimeVaryingSystem(Value, ABC):
    """Matrices for every step of B sequences of L steps, of H heads with N states each."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """Number B of sequences."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Number L of steps."""

    @property
    @abstractmethod
    def heads(self) -> int:
        """Number H of heads."""

    @property
    @abstractmethod
    def states(self) -> int:
        """Number N of stored states of one head."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Number m of inputs of one head."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number p of outputs of one head."""

    @property
    @abstractmethod
    def state_dtype(self) -> torch.dtype:
        """The dtype of states that start from zero and are driven in real numbers."""

    @property
    @abstractmethod
    def signal_dtype(self) -> torch.dtype:
        """The real dtype of the direct term, hence the narrowest of the outputs."""

    def per_step(self) -> dict[str, Tensor]:
        """The tensors (B, L, ...) by field name, without those that all steps share."""
        return self.tensors()

    def during(self: T, steps: slice | list[int]) -> T:
        """The system restricted to these steps of every sequence."""
        own = self.per_step()
        return dataclasses.replace(self, **{k: t[:, steps] for k, t in own.items()})

    def split(self: T, steps: int) -> list[T]:
        """Consecutive pieces of the system, ``steps`` steps each; the last one may be shorter."""
        own = self.per_step()
        pieces = zip(*(t.split(steps, 1) for t in own.values()), strict=True)
        return [dataclasses.replace(self, **dict(zip(own, p, strict=True))) for p in pieces]

    @abstractmethod
    def bank(self) -> ContinuousDiagonal | DiscreteDiagonal | DiscreteDense:
        """Frozen in time: a time-invariant system with the same number of heads for each step of
        each sequence, B L H or, where heads are equal, one of each kind."""

    def at(self, b: int, k: int) -> ContinuousDiagonal | DiscreteDiagonal | DiscreteDense:
        """Frozen in time: the time-invariant system with the matrices of sequence b at step k."""
        own = {n: t[b : b + 1] for n, t in self.per_step().items()}
        return dataclasses.replace(self, **own).during([k]).bank()


T = TypeVar("T", bound=TimeVaryingSystem)


@dataclass(frozen=True, kw_only=True)
class TimeVaryingModes(TimeVaryingSystem, ABC):
    """Diagonal matrices for every step of B sequences of L steps.

    lam (B, L, H, N), B (B, L, H, N, m), C (B, L, H, p, N), and D (H, p, m), or (B, L, H, p, m)
    where it varies too. A matrix that steps, sequences or heads share may be an expanded view.

    lam, B and C may have a number G that divides H in place of H: each of their rows is then that
    of H / G neighbouring heads, and takes memory once. :meth:`expanded` repeats them.

    Raises:
        ShapeError: the matrices do not fit together, or ``conjugate`` is set and lam is real.
    """

    lam: Inexact[Tensor, "B L G N"]
    B: Inexact[Tensor, "B L G N m"]
    C: Inexact[Tensor, "B L G p N"]
    D: Inexact[Tensor, "*time H p m"]
    conjugate: bool = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.lam.ndim, self.B.ndim, self.C.ndim) != (4, 5, 5) or self.D.ndim not in (3, 5):
            raise ShapeError(f"{name} needs lam (B, L, H, N), B and C of 5 dimensions, D of 3 or 5")
        places, (states, inputs) = self._places(), self.B.shape[3:]
        wanted = {
            "lam": (*places, states),
            "B": (*places, states, inputs),
            "C": (*places, self.outputs, states),
            "D": (*(places if self.D.ndim == 5 else places[2:]), self.outputs, inputs),
            "dt": tuple(places),
        }
        for key, tensor in self.tensors().items():
            if not self._fits(key, tuple(tensor.shape), wanted[key]):
                raise ShapeError(
                    f"{name}.{key} has shape {tuple(tensor.shape)}; with lam (B, L, H, N) = "
                    f"{(*places, states)}, m={inputs} and p={self.outputs} it must be "
                    f"{wanted[key]}"
                )
        if self.conjugate and not self.lam.is_complex():
            raise ShapeError(f"{name}: conjugate=True needs complex lam; it is {self.lam.dtype}")

    def _places(self) -> tuple[int, ...]:
        """B, L and H."""
        *place, rows = self.lam.shape[:3]
        heads = self.D.shape[-3]
        return (*place, heads if rows and heads % rows == 0 else rows)

    def _fits(self, key: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
        """Whether the field ``key`` may have this shape, where ``wanted`` is that of all places."""
        if key not in _SHARED or len(shape) != len(wanted):
            return shape == wanted
        return shape[2] == self.lam.shape[2] and _divides(shape, wanted)

    def expanded(self: M) -> M:
        """With rows of lam, B and C for every head, repeated where several share one; rows that
        all steps, sequences or heads share are views."""
        places, matrices = self._places(), {key: getattr(self, key) for key in _SHARED}
        if all(tuple(t.shape[:3]) == places for t in matrices.values()):
            return self
        views = {
            key: by_head(t.expand(*places[:2], *t.shape[2:]), places[2])
            for key, t in matrices.items()
        }
        return dataclasses.replace(self, **views)

    @property
    def dynamics(self) -> Tensor:
        """lam (B, L, H, N)."""
        return self.lam

    @property
    def batch(self) -> int:
        return self._places()[0]

    @property
    def length(self) -> int:
        return self._places()[1]

    @property
    def heads(self) -> int:
        return self._places()[2]

    @property
    def states(self) -> int:
        """Number N of stored states of one head."""
        return self.lam.shape[3]

    @property
    def inputs(self) -> int:
        return self.B.shape[-1]

    @property
    def outputs(self) -> int:
        return self.C.shape[-2]

    @property
    def state_dtype(self) -> torch.dtype:
        return torch.promote_types(self.lam.dtype, self.B.dtype)

    @property
    def signal_dtype(self) -> torch.dtype:
        return self.D.real.dtype

    def per_step(self) -> dict[str, Tensor]:
        """The tensors (B, L, ...) by field name: D is one of them only where it varies."""
        return {k: t for k, t in self.tensors().items() if k != "D" or t.ndim == 5}

    @abstractmethod
    def bank(self) -> ContinuousDiagonal | DiscreteDiagonal:
        """Frozen in time: a time-invariant system with B L H heads, H per step and sequence."""

    def _frozen(self) -> dict[str, Any]:
        """The fields of :meth:`bank`."""
        D = self.D if self.D.ndim == 5 else self.D.expand(self.batch, self.length, -1, -1, -1)
        whole = {**self.expanded().tensors(), "D": D}
        parts = {name: tensor.flatten(0, 2) for name, tensor in whole.items()}
        return {"conjugate": self.conjugate, **parts}


M = TypeVar("M", bound=TimeVaryingModes)
#: The fields of which heads may share rows.
_SHARED = ("lam", "B", "C")


def by_head(rows: Inexact[Tensor, "B L G *matrix"], heads: int) -> Inexact[Tensor, "B L H *matrix"]:
    """The row of each of ``heads`` heads, each of the G for as many neighbours; a view where there
    is one for all or one for each."""
    shape = rows.shape
    if shape[2] in (1, heads):
        return rows.expand(*shape[:2], heads, *shape[3:])
    each = rows.unsqueeze(3).expand(*shape[:3], heads // shape[2], *shape[3:])
    return each.flatten(2, 3)


def _divides(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is ``wanted`` but for heads that share rows."""
    groups, heads = shape[2], wanted[2]
    whole = shape[:2] + shape[3:] == wanted[:2] + wanted[3:]
    return whole and (groups == heads or (groups > 0 and heads % groups == 0))


@dataclass(frozen=True, kw_only=True)
class TimeVaryingDiagonal(TimeVaryingModes):
    """``x[k+1] = lam[k] x[k] + B[k] u[k]``, ``y[k] = C[k] x[k] + D u[k]``."""

    def bank(self) -> DiscreteDiagonal:
        return DiscreteDiagonal(**self._frozen())


@dataclass(frozen=True, kw_only=True)
class ContinuousTimeVaryingDiagonal(TimeVaryingModes):
    """``x' = lam[k] x + B[k] u`` from sample k to the next, dt[k] later; dt (B, L, H).

    ``euler_input``: the input enters by Euler's method, ``B_bar = dt B``, whichever method samples
    lam. :meth:`bank` does not say so.

    lam, B and C may have the size 1 in place of B or L where all sequences or steps share them, and
    each a number of its own that divides H in place of H. (Prefer it to an expanded view, whose
    gradient would be as large as the view.)
    """

    lam: Inexact[Tensor, "#B #L _ N"]
    B: Inexact[Tensor, "#B #L _ N m"]
    C: Inexact[Tensor, "#B #L _ p N"]
    dt: Float[Tensor, "B L H"]
    euler_input: bool = False

    def _places(self) -> tuple[int, ...]:
        return tuple(self.dt.shape)

    def _fits(self, key: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
        if key not in _SHARED or len(shape) != len(wanted):
            return shape == wanted
        shared = all(size in (1, full) for size, full in zip(shape[:2], wanted[:2], strict=True))
        return shared and _divides((*wanted[:2], *shape[2:]), wanted)

    def per_step(self) -> dict[str, Tensor]:
        """As for every time-varying system, of the :meth:`expanded` one."""
        return super(ContinuousTimeVaryingDiagonal, self.expanded()).per_step()

    def bank(self) -> ContinuousDiagonal:
        return ContinuousDiagonal(**self._frozen())


def at_steps(
    system: ContinuousDiagonal | ContinuousTimeVaryingDiagonal, factors: Float[Tensor, "B L"]
) -> ContinuousTimeVaryingDiagonal:
    """The system sampled unevenly: the time from sample k to the next is dt factors[:, k].

    For a time-invariant system only dt (B, L, H) takes memory per step.
    """
    dt = system.dt * factors[..., None].to(system.dt.dtype)
    if isinstance(system, ContinuousTimeVaryingDiagonal):
        return dataclasses.replace(system, dt=dt)
    lam, B, C = (matrix[None, None] for matrix in (system.lam, system.B, system.C))
    return ContinuousTimeVaryingDiagonal(
        lam=lam, B=B, C=C, D=system.D, dt=dt, conjugate=system.conjugate
    )
