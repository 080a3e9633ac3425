"""Time-varying systems together with the rule that samples them, for scans that do both at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.systems.readout import Readout
from ssmbench.systems.time_varying import ContinuousTimeVaryingDiagonal


class Rule(Enum):
    """A method that samples each mode by functions of z = dt lam, with M = 1 / (1 - alpha z):

    * ``exponential``: a = e^z, b = (e^z - 1) / z, the zero-order hold;
    * ``one_stage``: a = 1 + z M and b = M ((1 - c) + c a), d = c M, with the place alpha of the
      stage and the place c at which it reads an input that is a straight line between samples: 0
      for an input that is held;
    * ``tustin``: alpha = 1/2, a = 1 + z M, b = k = M, d = M / 2.

    See :class:`Steps` for a, b, k and d. The numbers are those of the C kernels.
    """

    exponential = 1
    one_stage = 2
    tustin = 3


class Steps(NamedTuple):
    """What one step does to a mode: ``x[k+1] = a x[k] + e B u``, ``y = C (k x + f B u)``.

    e = dt b and f = dt d; k is None where it is 1, and f where it is 0.
    """

    a: Tensor
    e: Tensor
    k: Tensor | None = None
    f: Tensor | None = None


@dataclass(frozen=True)
class ElementwiseRule:
    """How a discretizer samples a diagonal system: the rule and, of ``one_stage``, its places."""

    rule: Rule
    alpha: float = 0.0
    c: float = 0.0

    @property
    def keeps_outputs(self) -> bool:
        """Whether C and D stay as they are."""
        return self.rule is not Rule.tustin and self.c == 0

    def steps(
        self,
        dt: Float[Tensor, "*#shape"],
        lam: Float[Tensor, "*#shape"],
        euler_input: bool = False,
    ) -> Steps:
        """a, e, k and f, in plain PyTorch; ``euler_input``: e = dt."""
        z = dt * lam
        if self.rule is Rule.exponential:
            return Steps(torch.exp(z), dt.expand_as(z) if euler_input else dt * _phi_1(z))
        if self.rule is Rule.tustin:
            M = 1 / (1 - z / 2)
            return Steps(M * (1 + z / 2), dt * M, M, dt * M / 2)
        M = 1 / (1 - self.alpha * z)
        a = M * (1 + (1 - self.alpha) * z)
        held = torch.ones_like(M) if euler_input else M * ((1 - self.c) + self.c * a)
        return Steps(a, dt * held, None, dt * self.c * M if self.c else None)


@dataclass(frozen=True, kw_only=True)
class SampledModes(ContinuousTimeVaryingDiagonal):
    """A system that its scan samples by ``sampling``, and reads before or after each input."""

    sampling: ElementwiseRule
    readout: Readout = Readout.before

    @classmethod
    def of(
        cls, system: ContinuousTimeVaryingDiagonal, sampling: ElementwiseRule, readout: Readout
    ) -> SampledModes:
        """The system with the rule that samples it."""
        fields = {f.name: getattr(system, f.name) for f in dataclasses.fields(system)}
        return cls(**fields, sampling=sampling, readout=readout)


def _phi_1(z: Tensor) -> Tensor:
    """(e^z - 1) / z; its series near zero, where the derivative would cancel."""
    near = z.abs() < _NEAR
    small = torch.where(near, z, 0)
    series = torch.ones_like(z)
    for n in range(_TERMS, 0, -1):
        series = 1 + small / (n + 1) * series
    away = torch.where(near, 1, z)
    return torch.where(near, series, torch.expm1(away) / away)


_NEAR = 0.5
_TERMS = 16  # 0.5^16 / 17! is far below float64's rounding
