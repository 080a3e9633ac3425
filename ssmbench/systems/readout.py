"""Which state an output reads: the one before its input, or the one after it."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TypeVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.systems.lti import DiscreteDense, DiscreteDiagonal
from ssmbench.systems.time_varying import TimeVaryingDiagonal, by_head

Discrete = TypeVar("Discrete", bound=DiscreteDiagonal | DiscreteDense | TimeVaryingDiagonal)

#: Why a layer that reads the state after the input does not declare its parametrization's gain.
NO_GAIN_AFTER = (
    "its outputs read the state after the input, so its transfer function is D + z (G(z) - D), "
    "whose gain is at most that of G plus twice the norm of D, and may exceed a bound on G"
)


class Readout(Enum):
    """The state that ``y[k]`` reads: x[k], before the input u[k], which is control's convention, or
    x[k+1], after it, as in the published code of S4, S4D, S5, LRU and Mamba."""

    before = "before"
    after = "after"


def after_input(system: Discrete) -> Discrete:
    """The system whose outputs are ``y[k] = C x[k+1] + D u[k]``, with the same states.

    ``C' = C A`` and ``D' = D + C B``; the transfer function ``G(z)`` becomes ``D + z (G(z) - D)``.
    Where D is zero the gain stays, since abs(z) = 1 where it is taken. If not, it is at most the
    gain of G plus twice the norm of D, and may exceed the gain of G. A, B, and hence poles and
    states, stay as they are. Of a time-varying system C' takes memory for (B, L, H, p, N).
    """
    direct = _product(system.C, system.B)
    if isinstance(system, DiscreteDense):
        dtype = torch.promote_types(system.C.dtype, system.A.dtype)
        return replace(system, C=system.C.to(dtype) @ system.A.to(dtype), D=system.D + direct)
    direct = 2 * direct.real if system.conjugate else direct
    if isinstance(system, TimeVaryingDiagonal):
        direct = by_head(direct, system.heads)
    return replace(system, C=system.C * system.lam[..., None, :], D=system.D + direct)


def _product(
    C: Inexact[Tensor, "*place p N"], B: Inexact[Tensor, "*place N m"]
) -> Inexact[Tensor, "*place p m"]:
    dtype = torch.promote_types(C.dtype, B.dtype)
    return C.to(dtype) @ B.to(dtype)
