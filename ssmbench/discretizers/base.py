"""Base class of discretizers: pure functions from continuous to discrete systems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from types import UnionType
from typing import Any, ClassVar, TypeVar, overload

import torch
from jaxtyping import Bool, Float64, Inexact
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssmbench.discretizers.facts import Facts, computed_facts
from ssmbench.discretizers.rounding import is_wide, loss_per_step, rounded
from ssmbench.errors import require
from ssmbench.registry import discretizers
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    ContinuousTime,
    ContinuousTimeVaryingDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteLTI,
    ElementwiseRule,
    TimeVaryingDiagonal,
    interleaved,
)
from ssmbench.transforms import functorch_active, values_unknown

__all__ = [
    "Discretizer",
    "Facts",
    "by_kind",
    "scaled_matrices",
    "scaled_modes",
    "with_ramp",
]

#: How many entries of a time-varying system's lam are discretized at a time: 4 MB in float32.
_PIECE = 2**20


Discrete = TypeVar("Discrete", DiscreteDiagonal, DiscreteDense)


class Discretizer(ABC):
    """Maps ``x' = A x + B u`` with step size dt to ``x[k+1] = A_bar x[k] + B_bar u[k]``.

    No method divides by A, so integrators (zero poles) are safe. Diagonal systems stay diagonal.
    """

    #: What the computed facts do not show, for tables.
    note: ClassVar[str] = ""
    #: The types of system that the method samples.
    accepts: ClassVar[type | UnionType] = ContinuousTime
    #: The same in words, for messages.
    accepts_what: ClassVar[str] = "systems in continuous time"

    def __init__(self, config: Any):
        self.config = config

    @overload
    def __call__(self, system: ContinuousDiagonal) -> DiscreteDiagonal: ...
    @overload
    def __call__(self, system: ContinuousDense) -> DiscreteDense: ...
    @overload
    def __call__(self, system: ContinuousTimeVaryingDiagonal) -> TimeVaryingDiagonal: ...
    @overload
    def __call__(self, system: ContinuousSystem) -> DiscreteLTI: ...
    @overload
    def __call__(self, system: ContinuousTime) -> DiscreteLTI | TimeVaryingDiagonal: ...
    def __call__(self, system: ContinuousTime) -> DiscreteLTI | TimeVaryingDiagonal:
        """The discrete system with the same structure, sizes and precision.

        Systems are discretized in double precision and rounded at the end, diagonal ones by
        :func:`~ssmbench.discretizers.rounding.rounded`; time-varying ones, to save memory, are
        discretized in the precision they have.

        Raises:
            UsageError: the method needs oscillators, and the system has none.
            TypeError: there is no discretization for this type of system.
        """
        if isinstance(system, ContinuousTimeVaryingDiagonal):
            return self.time_varying(system)
        if isinstance(system, ContinuousDiagonal):
            exact = self.diagonal(system.double())
            return rounded(exact, self._loss(system.detach().double()), _is_wide(system))
        if isinstance(system, ContinuousDense):
            exact = self.dense(system.double())
            return exact if _is_wide(system) else exact.single()
        if isinstance(system, ContinuousOscillator):
            return self.oscillator(system)
        raise TypeError(f"no discretization for {type(system).__name__}")

    def _loss(self, system: ContinuousDiagonal) -> Float64[Tensor, "H N"]:
        z, _ = scaled_modes(system)
        return loss_per_step(self.increment(z), z)

    @abstractmethod
    def diagonal(self, system: ContinuousDiagonal) -> DiscreteDiagonal:
        """Elementwise in lam (H, N)."""

    @abstractmethod
    def dense(self, system: ContinuousDense) -> DiscreteDense:
        """By matrices A (H, N, N)."""

    def time_varying(self, system: ContinuousTimeVaryingDiagonal) -> TimeVaryingDiagonal:
        """Discretize all steps at once, each as one more head of a time-invariant system.

        A method that changes C or D, such as Tustin's, keeps the state in coordinates that depend
        on dt. Where dt varies, such a method has order 1, whatever its order for constant dt.
        Euler's B_bar, which some systems ask for (``euler_input``), does not fit these coordinates.

        The work is split into pieces that are recomputed in the backward pass: a method's
        intermediate values, if kept for every step, would take many times the memory of its result.
        (torch.func does not support recomputation: under it, they are kept.)
        """
        system = system.expanded()
        size = max(1, system.batch * system.heads * system.states)
        steps = max(1, _PIECE // size)
        make = self._discretized if functorch_active() else self._recomputed
        pieces = [make(piece) for piece in system.split(steps)]
        changed = {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
        coordinates = sorted(changed.keys() & {"C", "D"})
        require(
            not (system.euler_input and coordinates),
            f"{type(self).__name__} changes {' and '.join(coordinates)} with B, so it cannot take "
            "B_bar = dt B (euler_input); choose a method that keeps C and D, for example zoh",
        )
        own = {"C": system.C, "D": system.D} | changed
        return TimeVaryingDiagonal(conjugate=system.conjugate, **own)

    def _recomputed(self, system: ContinuousTimeVaryingDiagonal) -> dict[str, Tensor]:
        return checkpoint(self._discretized, system, use_reentrant=False, preserve_rng_state=False)

    def _discretized(self, system: ContinuousTimeVaryingDiagonal) -> dict[str, Tensor]:
        """The tensors (B, L, H, ...) that the method changes."""
        bank = system.bank()
        found = self.diagonal(bank).tensors()
        changed = {name: t for name, t in found.items() if t is not getattr(bank, name)}
        if system.euler_input:
            changed["B"] = bank.dt[:, None, None] * bank.B
        place = (system.batch, system.length, system.heads)
        return {name: tensor.unflatten(0, place) for name, tensor in changed.items()}

    def elementwise(self) -> ElementwiseRule | None:
        """The rule by which :meth:`diagonal` samples modes, where it is one that layers and scans
        can apply themselves, in one operation (:class:`~ssmbench.systems.Rule`); None otherwise.
        """
        return None

    def sampling(self) -> ElementwiseRule | None:
        """:meth:`elementwise`; None where a subclass has overridden the methods that it describes,
        and not it."""
        order = type(self).__mro__
        described = ("diagonal", "increment", "time_varying", "__call__", "_loss")
        own, *others = (
            next(k for k, base in enumerate(order) if name in vars(base))
            for name in ("elementwise", *described)
        )
        return self.elementwise() if own <= min(others) else None

    def oscillator(self, system: ContinuousOscillator) -> DiscreteLTI:
        """Discretize the first-order form, unless the method overrides this for oscillators."""
        return by_kind(
            system,
            system.underdamped(),
            pairs=lambda part: self(part.conjugate_pairs()),
            others=lambda part: self(part.to_dense()),
        )

    @classmethod
    def samples(cls, system_type: type) -> bool:
        """Whether the method samples every system of that type."""
        return issubclass(system_type, cls.accepts)

    @cached_property
    def facts(self) -> Facts:
        """The facts for these options, computed on first use."""
        return computed_facts(self, self.stability_function, self.note)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts under default options as plain values."""
        return asdict(next(e for e in discretizers if e.factory is cls).build().facts)

    def stability_function(self, z: Inexact[Tensor, " Z"]) -> Inexact[Tensor, " Z"]:
        """R(z): the factor by which one step multiplies a mode with h lam = z."""
        one = torch.ones(len(z), 1, 1, dtype=z.dtype)
        step = torch.ones(len(z), dtype=z.real.dtype)
        system = ContinuousDiagonal(lam=z[:, None], B=one, C=one, D=0 * one, dt=step)
        return self.diagonal(system).lam[:, 0]

    def increment(self, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
        """R(z) - 1, without cancellation near z = 0: it tells slow modes from undamped ones."""
        return self.stability_function(z.flatten()).reshape(z.shape) - 1


def by_kind(
    system: ContinuousOscillator,
    is_pair: Bool[Tensor, " N"],
    pairs: Callable[[ContinuousOscillator], DiscreteDiagonal],
    others: Callable[[ContinuousOscillator], DiscreteDense],
) -> DiscreteLTI:
    """Discretize conjugate pairs with one function and all other oscillators with another.

    The result is diagonal (H, N) where all are pairs, else dense with two states per oscillator,
    and lists the pairs among them, so that they are still scanned as modes. In a traced graph and
    under ``torch.func`` values cannot be inspected, so all count as others.
    """
    if values_unknown():
        return others(system)
    if bool(is_pair.all()):
        return pairs(system)
    if not bool(is_pair.any()):
        return others(system)
    rest = replace(system.only(~is_pair), D=torch.zeros_like(system.D))
    return interleaved(pairs(system.only(is_pair)), others(rest), is_pair)


def _is_wide(system: ContinuousSystem) -> bool:
    return is_wide(*(t for name, t in system.tensors().items() if name != "dt"))


def scaled_modes(system: ContinuousDiagonal) -> tuple[Tensor, Tensor]:
    """h lam (H, N) and h B (H, N, m)."""
    return system.dt[:, None] * system.lam, system.dt[:, None, None] * system.B


def scaled_matrices(system: ContinuousDense) -> tuple[Tensor, Tensor, Tensor]:
    """h A (H, N, N), h B (H, N, m) and the identity (N, N)."""
    h = system.dt[:, None, None]
    eye = torch.eye(system.states, dtype=system.A.dtype, device=system.A.device)
    return h * system.A, h * system.B, eye


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
