"""What a parametrization is: free parameters in, a linear system out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.systems import LinearSystem, TimeVaryingSystem

#: Why those that bound the gain of the discrete matrices themselves take no discretizer.
GAIN_IS_DISCRETE = (
    "its gain bound is a statement about the discrete matrices themselves, so it returns a "
    "discrete system and there is nothing left to discretize"
)


@dataclass(frozen=True)
class ParameterOptions:
    """How the optimizer treats a parameter.

    ``rate``: which of the run's learning rates it has, ``optimizer.ssm_lr`` or ``optimizer.lr``,
    times ``factor``. ``decay``: whether ``optimizer.weight_decay`` acts on it.

    Raises:
        UsageError: a factor that is negative or not finite.
    """

    rate: Literal["ssm", "main"] = "ssm"
    factor: float = 1.0
    decay: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.factor < math.inf, f"a learning rate's factor cannot be {self.factor}")


class Parametrization(nn.Module, ABC):
    """Maps unconstrained parameters to a linear system for a layer of width ``d_model``.

    The system is a bank whose heads' inputs and outputs together make up the ``d_model`` channels.
    Built by the registry as ``factory(config, d_model=...)``. Knows no scan and no task.
    """

    #: Whether :meth:`forward` returns a continuous or a discrete system.
    time_domain: ClassVar[Literal["continuous", "discrete"]]
    #: Whether every parameter value gives a stable system (of its own time domain).
    stable_by_construction: ClassVar[bool]
    #: Whether the system is a ContinuousOscillator, which oscillator discretizers need.
    gives_oscillator: ClassVar[bool] = False
    #: Whether :meth:`forward` takes the layer's input u (B, L, d_model) and gives a time-varying
    #: system, whose matrices at step k follow from u[:, k] alone: any memory belongs into states.
    needs_input: ClassVar[bool] = False
    #: The width of that input, which those with :attr:`needs_input` set.
    d_model: int
    #: For discrete ones: why they take no discretizer, as the end of a sentence about them.
    no_discretizer_reason: ClassVar[str] = (
        "it returns a discrete-time system, so there is nothing left to discretize"
    )

    @abstractmethod
    def forward(self, *u: Float[Tensor, "B L d"]) -> LinearSystem | TimeVaryingSystem:
        """The system for the parameters' present values; only with :attr:`needs_input` is there a
        u."""

    def declared_gain(self) -> float | None:
        """The L2 gain that the system promises never to exceed, or None when it promises none."""
        return None

    def optimizer_options(self) -> Mapping[str, ParameterOptions]:
        """Options by parameter name, for those that are not trained as SSM parameters are by
        default: at ``ssm_lr``, without decay, which would move poles and step sizes towards
        arbitrary values (Gu et al. 2022, S4, appendix D)."""
        return {}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        discrete = cls.time_domain == "discrete"
        return {
            "time_domain": cls.time_domain,
            "stable_by_construction": cls.stable_by_construction,
            "declares_gain": cls.declared_gain is not Parametrization.declared_gain,
            **({"needs_input": True} if cls.needs_input else {}),
            **({"no_discretizer_reason": cls.no_discretizer_reason} if discrete else {}),
        }


#: Logarithms of rates, step sizes and stiffnesses are kept within this of 0, so that neither they
#: nor the product of two of them leave what float32 holds: e^-104 is 0, and undamped.
_LARGEST_LOG = 40.0


def positive(logarithm: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """e^logarithm, never 0 and never infinite: constant beyond e^-40 and e^40."""
    return torch.exp(logarithm.clamp(-_LARGEST_LOG, _LARGEST_LOG))


def check_step_sizes(owner: str, dt_min: float, dt_max: float) -> None:
    """Raise a UsageError unless 0 < dt_min <= dt_max."""
    require(
        0 < dt_min <= dt_max,
        f"{owner}: needs 0 < dt_min <= dt_max, got dt_min={dt_min} and dt_max={dt_max}",
    )


def log_uniform_steps(heads: int, dt_min: float, dt_max: float) -> Float[Tensor, " H"]:
    """log dt (H,), dt log-uniform in [dt_min, dt_max] (Gu et al. 2022, S4, appendix)."""
    low, high = math.log(dt_min), math.log(dt_max)
    return low + (high - low) * torch.rand(heads)
