"""Base classes of systems: a value made of tensors, and a batch of independent linear systems."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssmbench.errors import ShapeError
from ssmbench.linalg.precision import to_double, to_single

#: Why a time-varying system has no verified gain, for analysis, normalisers and certificates.
FROZEN_ONLY = "time-varying: a gain exists only frozen in time"

S = TypeVar("S", bound="LinearSystem")
V = TypeVar("V", bound="Value")


@dataclass(frozen=True)
class Value:
    """An immutable value made of tensors, with access by name and maps over all of them."""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by field name."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in fields if isinstance(value, Tensor)}

    def map(self: V, function) -> V:
        """The system with ``function`` applied to every tensor."""
        return dataclasses.replace(self, **{k: function(v) for k, v in self.tensors().items()})

    def double(self: V) -> V:
        """The system in float64 and complex128."""
        return self.map(to_double)

    def single(self: V) -> V:
        """The system in float32 and complex64."""
        return self.map(to_single)

    def detach(self: V) -> V:
        """The system cut off from the autograd graph."""
        return self.map(Tensor.detach)

    def to(self: V, device: torch.device | str) -> V:
        """The system on ``device``."""
        return self.map(lambda t: t.to(device))

    def is_finite(self) -> bool:
        """Whether every entry is a finite number."""
        return all(bool(torch.isfinite(t).all()) for t in self.tensors().values())


@dataclass(frozen=True, kw_only=True)
class LinearSystem(Value, ABC):
    """H independent linear systems (heads): B (H, N, m), C (H, p, N), D (H, p, m) real or complex.

    Raises:
        ShapeError: the matrices do not fit together; the message names the one and the right shape.
    """

    B: Inexact[Tensor, "H N m"]
    C: Inexact[Tensor, "H p N"]
    D: Inexact[Tensor, "H p m"]

    def __post_init__(self) -> None:
        for name, tensor in self.tensors().items():
            expected = {"lam": 2, "a": 2, "g": 2, "dt": 1}.get(name, 3)
            if tensor.ndim != expected:
                raise ShapeError(
                    f"{type(self).__name__}.{name} needs {expected} dimensions, the first for "
                    f"the heads H; got shape {tuple(tensor.shape)}"
                )
        self._check_shapes()

    def _check_shapes(self) -> None:
        heads, states = self.heads, self.states
        inputs, outputs = self.B.shape[-1], self.C.shape[-2]
        wanted = {
            "B": (heads, states, inputs),
            "C": (heads, outputs, states),
            "D": (heads, outputs, inputs),
            "dt": (heads,),
            "A": (heads, states, states),
            **dict.fromkeys(("a", "g"), (heads, states)),
            "C_v": (heads, outputs, states),
        }
        for name, tensor in self.tensors().items():
            if name in wanted and tuple(tensor.shape) != wanted[name]:
                raise ShapeError(
                    f"{type(self).__name__}.{name} has shape {tuple(tensor.shape)}, but with "
                    f"H={heads} heads, N={states} states, m={inputs} inputs and p={outputs} "
                    f"outputs it must be {wanted[name]}"
                )

    # --- sizes ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def dynamics(self) -> Tensor:
        """lam (H, N), A (H, N, N), or for oscillators a (H, N)."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Number of modes of one head, conjugates included."""

    @property
    def heads(self) -> int:
        return self.dynamics.shape[0]

    @property
    def states(self) -> int:
        """Number N of stored states of one head (half the order for conjugate pairs)."""
        return self.dynamics.shape[1]

    @property
    def inputs(self) -> int:
        """Number m of inputs of one head."""
        return self.B.shape[-1]

    @property
    def outputs(self) -> int:
        """Number p of outputs of one head."""
        return self.C.shape[-2]

    @property
    def state_dtype(self) -> torch.dtype:
        """The dtype of states that start from zero and are driven in real numbers."""
        return torch.promote_types(self.dynamics.dtype, self.B.dtype)

    @property
    def signal_dtype(self) -> torch.dtype:
        """The real dtype of the direct term, hence the narrowest of the outputs."""
        return self.D.real.dtype

    def head(self: S, index: int) -> S:
        """One head, as a system with H = 1."""
        return self.map(lambda t: t[index : index + 1])

    # --- the time domain ------------------------------------------------------------------------

    #: A real pole well inside the region of stability.
    stable_pole: ClassVar[float]

    @staticmethod
    @abstractmethod
    def boundary_point(omega: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """The point of the stability boundary at a frequency: i omega or e^{i omega}."""

    @staticmethod
    @abstractmethod
    def frequency_of(points: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The frequency of complex points: their imaginary part, or their angle in (-pi, pi]."""

    @staticmethod
    @abstractmethod
    def gap_of(poles: Inexact[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Distance of poles to the stability boundary, positive where stable: -Re lam, or
        1 - |lam|."""

    # --- analysis that every system supports ---------------------------------------------------

    def is_real(self) -> bool:
        """Whether G(conj z) = conj G(z), so that non-negative frequencies suffice."""
        return not any(tensor.is_complex() for tensor in self.tensors().values())

    @abstractmethod
    def to_dense(self) -> LinearSystem:
        """The same system with a dense A; real (2N states) for conjugate pairs."""

    @abstractmethod
    def poles(self) -> Complex[Tensor, "H order"]:
        """Eigenvalues of every head, conjugates included."""

    @abstractmethod
    def response(self, points: Inexact[Tensor, "H W"]) -> Complex[Tensor, "H W p m"]:
        """Transfer matrix at complex points (H, W): s in continuous time, z in discrete time."""

    @abstractmethod
    def frequency_response(self, omega: Float[Tensor, "... W"]) -> Complex[Tensor, "H W p m"]:
        """Transfer matrix at real frequencies (W,), or (H, W) for one grid per head."""

    def _points(self, points: Tensor) -> Tensor:
        return points if points.ndim == 2 else points.expand(self.heads, -1)
