"""Units in which a system is analysed: powers of two, so that scaling rounds nothing.

A gain does not depend on the unit of time, and it is proportional to the units of input and output;
in the units chosen here the largest entries of B and C are near 1, and in continuous time the
largest of A too. State coordinates are balanced in the same way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    DenseSystem,
    DiscreteDense,
    DiscreteDiagonal,
    LinearSystem,
)

#: The systems that are analysed; those of second order are brought to this form.
FirstOrder = ContinuousDiagonal | ContinuousDense | DiscreteDiagonal | DiscreteDense
F = TypeVar("F", bound=FirstOrder)

#: The largest exponent of D in the units of a system: its square is far from overflow.
_LARGEST_D = 400


@dataclass(frozen=True)
class InUnits(Generic[F]):
    """A system in its own units, in double precision.

    exponents (H,): the gain of each system is 2^exponents times that in its units. speed (H,): a
    frequency of a continuous system is 2^speed times that in its units; 0 in discrete time. exact
    (H,): nothing was lost to overflow or underflow.
    """

    system: F
    exponents: Tensor
    speed: Tensor
    exact: Tensor

    def gain(self, value: Tensor) -> Tensor:
        """A gain (H,) in the units of the original system."""
        return times_power(value, self.exponents)

    def frequency(self, omega: Tensor) -> Tensor:
        """A frequency (H,) in the units of the original system."""
        return times_power(omega, self.speed)


def in_units(system: F) -> InUnits[F]:
    """The system in units of its own, in double precision. Differentiable."""
    system = system.double()
    speed = torch.zeros(system.heads, dtype=torch.int64, device=system.D.device)
    if isinstance(system, ContinuousSystem):
        speed = largest_exponent(system.dynamics)
    size_in, size_out = largest_exponent(system.B) - speed, largest_exponent(system.C)
    size_out = torch.maximum(size_out, _least_unit(system.D) - size_in)
    scaled = _scaled(system, size_in, size_out, speed)
    exact = _same(_scaled(scaled, -size_in, -size_out, -speed), system)
    rows = _balancing_rows(scaled)
    inner = _in_coordinates(scaled, rows)
    exact = exact & _same(_in_coordinates(inner, 1 / rows), scaled)
    return InUnits(inner, size_in + size_out, speed, exact)


def _least_unit(D: Tensor) -> Tensor:
    """The exponent (H,) of the smallest unit of the gain in which D, and its square, are finite."""
    known = (D != 0).flatten(1).any(1)
    return torch.where(known, largest_exponent(D) - _LARGEST_D, -(2**20))


def first_order(system: LinearSystem) -> FirstOrder:
    """Oscillators as dense first-order systems, the form in which they are analysed."""
    if isinstance(system, ContinuousOscillator):
        return system.to_dense()
    return cast(FirstOrder, system)


def _scaled(system: F, size_in: Tensor, size_out: Tensor, speed: Tensor) -> F:
    """B, C and D in units of input and output; A and B per unit of time."""
    scaled = dataclasses.replace(
        system,
        B=times_power(system.B, -size_in - speed),
        C=times_power(system.C, -size_out),
        D=times_power(system.D, -size_in - size_out),
    )
    if not bool(speed.any()):
        return scaled
    return scaled.with_dynamics(times_power(system.dynamics, -speed))


def times_power(values: Tensor, exponents: Tensor) -> Tensor:
    """values (H, ...) times 2^exponents (H,), exact unless the result leaves the range."""
    exponents = exponents.view(-1, *[1] * (values.ndim - 1)).clamp(-6000, 6000)
    for part in _parts(exponents):
        values = values * torch.exp2(part.double())
    return values


def _parts(exponents: Tensor) -> list[Tensor]:
    """Exponents split into summands whose powers of two a float64 can represent."""
    parts = []
    while bool((exponents != 0).any()):
        part = exponents.clamp(-1000, 1000)
        parts.append(part)
        exponents = exponents - part
    return parts


def largest_exponent(values: Tensor) -> Tensor:
    """The binary exponent of the largest finite entry of each system (H,); 0 where all vanish."""
    values = torch.view_as_real(values) if values.is_complex() else values
    sizes = values.detach().abs().flatten(1)
    sizes = torch.where(sizes.isfinite(), sizes, 0.0)
    if not sizes.shape[1]:
        return torch.zeros(len(sizes), dtype=torch.int64, device=sizes.device)
    return torch.frexp(sizes.amax(1)).exponent.long()


def _same(found: LinearSystem, system: LinearSystem) -> Tensor:
    """Whether all tensors of each system (H,) are equal."""
    pairs = zip(found.tensors().values(), system.tensors().values(), strict=True)
    return torch.stack([(a == b).reshape(len(a), -1).all(1) for a, b in pairs if a.numel()]).all(0)


# --- state coordinates --------------------------------------------------------------------------


def balanced(system: F) -> F:
    """State coordinates of a dense system scaled so that A, B and C are of like size."""
    return _in_coordinates(system, _balancing_rows(system))


def _balancing_rows(system: LinearSystem) -> Tensor:
    """Scales (H, N, 1) of the states, powers of two; ones where A is diagonal."""
    shape = (system.heads, system.states, 1)
    if not isinstance(system, DenseSystem) or not system.states:
        return torch.ones(shape, dtype=torch.float64, device=system.D.device)
    matrices = (
        t.detach().cpu().resolve_conj().resolve_neg().numpy()
        for t in (system.A, system.B, system.C)
    )
    scales = np.stack([balancing_scale(*head) for head in zip(*matrices, strict=True)])
    return torch.as_tensor(scales, device=system.A.device).reshape(shape)


def _in_coordinates(system: F, rows: Tensor) -> F:
    """The states divided by ``rows`` (H, N, 1)."""
    if not isinstance(system, DenseSystem):
        return system
    return dataclasses.replace(
        system, A=system.A / rows * rows.mT, B=system.B / rows, C=system.C * rows.mT
    )


def balancing_scale(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Scales (N,) of one system: those that balance [A, |B|; |C|, 0], times one that makes
    |B| = |C|.

    Without the second step the level set's eigenvalues are lost to rounding when, say, B = 1 and
    C = 1e8 G.
    """
    with np.errstate(all="ignore"):
        scale = _balancing_scale(A, B, C)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)


def _balancing_scale(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    inputs, outputs = np.linalg.norm(B, axis=1), np.linalg.norm(C, axis=0)
    whole = np.block([[np.abs(A), inputs[:, None]], [outputs[None, :], np.zeros((1, 1))]])
    if not np.isfinite(whole).all():
        return np.ones(len(A))
    _, (scale, _) = scipy.linalg.matrix_balance(whole, permute=False, separate=True)
    scale = scale[:-1]
    size_in, size_out = np.linalg.norm(inputs / scale), np.linalg.norm(outputs * scale)
    if size_in > 0 and size_out > 0:
        scale = scale * 2.0 ** np.round(np.log2(size_in / size_out) / 2)
    return scale
