"""Gates and unit vectors of selective systems whose steps are contractions, exactly in floats.

Every function here computes matrix entries in floating point with the unit roundoff u. A step of
such a system is a product of nonnegative factors of norm at most 1, and the norm of a matrix does
not grow when entries shrink in modulus. So it is enough that every entry, as stored and as the scan
then rounds products and sums with it, is at most the exact one in modulus: :func:`shrunk` gives
entries a factor 1 - k u for the k roundings that they go through.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import require

#: Raw entries of vectors are kept within this of 0, so that no square overflows float32.
_LARGEST = 1e15
#: Added to norms, so that the gradient at the zero vector is finite.
_SMALL = 1e-6


def shrunk(x: Float[Tensor, "*shape"], roundings: int) -> Float[Tensor, "*shape"]:
    """x times 1 - k u, u = eps / 2 of its precision: makes up for k roundings upwards, since
    ``(1 - k u) (1 + u)^k <= (1 - k u) e^(k u) <= 1``; its own two are to be counted in k."""
    return x * shrinking(x.dtype, roundings)


def shrinking(dtype: torch.dtype, roundings: int) -> float:
    """The factor of :func:`shrunk`."""
    return 1 - roundings * torch.finfo(dtype).eps / 2


def angle_gate(
    z: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """a = cos(t) and s = sqrt(1 - a^2) of the angle t = pi/2 sigmoid(z), both in [0, 1].

    s follows from the float a by its factors, s = sqrt((1 - a)(1 + a)), with three and a half
    roundings whatever the library's cos and sin are worth; 1 - a^2 would cancel. As a function of a
    it has an infinite slope at a = 1; as one of the angle, ds/dt = a, which is the gradient here.
    """
    angle = (math.pi / 2) * torch.sigmoid(z)
    a, s = _of_angle(angle)
    sine = torch.sin(angle)
    return a, sine + (s - sine).detach()


def angle_gate_values(
    z: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """As :func:`angle_gate`, without a derivative of s."""
    return _of_angle((math.pi / 2) * torch.sigmoid(z))


def _of_angle(angle: Tensor) -> tuple[Tensor, Tensor]:
    a = torch.cos(angle).clamp(0.0, 1.0)
    return a, torch.sqrt(((1 - a) * (1 + a)).detach())


def angle_gate_start(times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The z for which :func:`angle_gate` has a = e^(-1 / time)."""
    return torch.logit(torch.acos(torch.exp(-1 / times)) * (2 / math.pi))


def unit_vector(v: Float[Tensor, "*shape N"]) -> Float[Tensor, "*shape N"]:
    """v / (||v|| + 1e-6), of norm at most 1 in floating point.

    The norm is computed with at most N + 2 roundings, of the squares, their sum and the root, and
    the quotient with two more.
    """
    v = v.clamp(-_LARGEST, _LARGEST)
    norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return shrunk(v / (norm + _SMALL), v.shape[-1] + 8)


def unit_vector_gradient(
    v: Float[Tensor, "*shape N"], g: Float[Tensor, "*shape N"]
) -> Float[Tensor, "*shape N"]:
    """The gradient of v from that of :func:`unit_vector`, in few operations."""
    held = v.clamp(-_LARGEST, _LARGEST)
    norm = torch.linalg.vector_norm(held, dim=-1, keepdim=True)
    length = norm + _SMALL
    along = (g * held).sum(-1, keepdim=True) / (norm * length)
    along = along.masked_fill_(norm == 0, 0.0)  # where that of the norm is zero
    found = torch.addcmul(g, held, along, value=-1) * (shrinking(v.dtype, v.shape[-1] + 8) / length)
    return found.masked_fill_(held != v, 0.0)


def log_uniform(number: int, low: float, high: float) -> Float[Tensor, " n"]:
    """Log-uniform random numbers in [low, high]."""
    return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * torch.rand(number))


def groups_of(asked: int, d_model: int) -> int:
    """The number of groups of channels that share their selection: as ``asked``, or for 0 the
    largest divisor of ``d_model`` up to 4.

    Raises:
        UsageError: it does not divide the number of channels.
    """
    groups = asked or math.gcd(4, d_model)
    require(d_model % groups == 0, f"heads must divide d_model, got {groups} and {d_model}")
    return groups
