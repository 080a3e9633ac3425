"""Base class of parametrizations: free parameters in, a linear system out."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ssmbench.analysis.certificate import GainClaim
from ssmbench.errors import UsageError, require
from ssmbench.program import Builder
from ssmbench.systems import ContinuousTime, DiscreteTime, LinearSystem, TimeVaryingSystem

#: Why a parametrization that bounds the gain of the discrete matrices takes no discretizer.
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


#: Trained like a weight matrix of the network, and like a bias.
AS_WEIGHT, AS_BIAS = ParameterOptions("main", decay=True), ParameterOptions("main")


class Parametrization(nn.Module, ABC):
    """Maps unconstrained parameters to a linear system for a layer of width ``d_model``.

    The inputs of the system's heads together are the ``d_model`` channels, and so are the outputs.
    Built by the registry as ``factory(config, d_model=...)``. It depends neither on the scan
    nor on the task.
    """

    #: The type of system that :meth:`forward` returns, or a base of it where options decide. It
    #: settles whether a discretizer is needed, and which (:attr:`Discretizer.accepts`). A
    #: time-varying type: forward takes the signal u that selects, the layer's input
    #: (B, L, d_model) or, with a :attr:`d_selection`, one that a block hands the layer apart from
    #: it (B, L, d_selection); the matrices at step k follow from u[:, k] alone, since any memory
    #: belongs in the states, or in what the block selects by.
    system_type: ClassVar[type[LinearSystem] | type[TimeVaryingSystem]]
    #: Whether the system is stable for every value of the parameters.
    stable_by_construction: ClassVar[bool]
    #: Which gain :meth:`declared_gain` bounds. Of time-invariant systems both are the same; a
    #: time-varying class that does not say is taken at the weaker claim, zero-state.
    gain_claim: GainClaim = GainClaim.incremental
    #: The width of the layer's signals, which those of a time-varying type set.
    d_model: int
    #: Of time-varying types: whether it is built with ``d_selection=``, the width of a signal that
    #: selects the matrices in place of the layer's input, or None for the input.
    takes_selection: ClassVar[bool] = False
    #: The width of that signal; None: the layer's input selects.
    d_selection: int | None = None
    #: The parameters on which only the output matrix C depends, and those of the direct term D: a
    #: second layer with the same A, B and step size has a C of its own and no D (``model.tied``).
    #: Empty where C cannot be chosen apart from A and B.
    output_parameters: ClassVar[tuple[str, ...]] = ()
    direct_parameters: ClassVar[tuple[str, ...]] = ()
    #: How the publication trains each parameter, by name; those that are not named as SSM
    #: parameters. None: it does not say, or there is none, see :attr:`no_published_groups`.
    published: ClassVar[Mapping[str, ParameterOptions] | None] = None
    #: Why there is nothing in :attr:`published`, as the end of a sentence about the class.
    no_published_groups: ClassVar[str] = "comes from no publication that says how it is trained"
    #: Whether parameters are trained as :attr:`published` says; set from a config's option.
    published_groups: bool = False
    #: For discrete ones: why they take no discretizer, as the end of a sentence about them.
    no_discretizer_reason: ClassVar[str] = (
        "it returns a discrete-time system, so there is nothing left to discretize"
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kind = getattr(cls, "system_type", None)
        varies = isinstance(kind, type) and issubclass(kind, TimeVaryingSystem)
        bases = (base for base in cls.__mro__ if base is not Parametrization)
        said = any("gain_claim" in vars(base) for base in bases)
        if varies and not said:
            cls.gain_claim = GainClaim.zero_state

    @abstractmethod
    def forward(self, *u: Float[Tensor, "B L d"]) -> LinearSystem | TimeVaryingSystem:
        """The system for the present values of the parameters, an instance of
        :attr:`system_type`; there is a u only where that type is time-varying."""

    @classmethod
    def is_continuous(cls) -> bool:
        """Whether the system is one in continuous time, which a discretizer has to sample."""
        return cls.gives(ContinuousTime)

    @classmethod
    def is_time_varying(cls) -> bool:
        """Whether the system follows from the layer's input."""
        return cls.gives(TimeVaryingSystem)

    @classmethod
    def gives(cls, kind: type | UnionType) -> bool:
        """Whether every system from here is of that type, by :attr:`system_type`.

        Raises:
            UsageError: the class declares no type of system.
        """
        declared = getattr(cls, "system_type", None)
        if isinstance(declared, type) and issubclass(declared, ContinuousTime | DiscreteTime):
            return issubclass(declared, kind)
        raise UsageError(
            f"{_place(cls)}: system_type must be the type of system that forward returns, for "
            f"example ContinuousDiagonal or DiscreteDense, not {declared!r}"
        )

    def lower(self, to: Builder, selection: int) -> tuple[int, int, int, int] | None:
        """Of a time-varying one: the values lam, B, C and D of a step in an exported network, as
        :meth:`ssmbench.program.Builder.varying` takes them, from the value that selects them; None
        if there is no form in plain operations."""
        return None

    def declared_gain(self) -> float | None:
        """The L2 gain that no system from here exceeds, or None where no bound is declared; of the
        kind that :attr:`gain_claim` says."""
        return None

    def declared_measures(self) -> Mapping[str, float]:
        """What every system from here keeps of other measures than the gain, by the measure as a
        config names it (:mod:`ssmbench.measures`), for example ``band_gain(low=0.5)``: an upper
        bound of what is worse the larger it is, else a lower bound. Runs measure it, whether their
        config asks for it or not."""
        return {}

    def optimizer_options(self) -> Mapping[str, ParameterOptions]:
        """Options by parameter name, for those that are not trained as SSM parameters are by
        default: at ``ssm_lr``, without decay, which would move poles and step sizes towards
        arbitrary values (Gu et al. 2022, S4, appendix D)."""
        if not self.published_groups or self.published is None:
            return {}
        own = dict(self.named_parameters())
        return {name: options for name, options in self.published.items() if name in own}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        discrete = not cls.is_continuous()
        declares = cls.declared_gain is not Parametrization.declared_gain
        return {
            "system_type": cls.system_type.__name__,
            "time_domain": "discrete" if discrete else "continuous",
            "stable_by_construction": cls.stable_by_construction,
            "declares_gain": declares,
            **({"gain_claim": cls.gain_claim.value} if declares and cls.is_time_varying() else {}),
            **({"no_discretizer_reason": cls.no_discretizer_reason} if discrete else {}),
        }


def _place(cls: type) -> str:
    """A class by its name and its place, for messages about it."""
    try:
        _, line = inspect.getsourcelines(cls)
    except (OSError, TypeError):  # typed in a session
        return cls.__name__
    return f"{cls.__name__} ({inspect.getsourcefile(cls)}:{line})"


#: Logarithms of rates, step sizes and stiffnesses are kept within this of 0, so that neither they
#: nor the product of two of them leave what float32 holds: e^-104 is 0, and undamped.
_LARGEST_LOG = 40.0


def positive(logarithm: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """e^logarithm, never 0 and never infinite: constant beyond e^-40 and e^40."""
    return torch.exp(logarithm.clamp(-_LARGEST_LOG, _LARGEST_LOG))


def check_step_sizes(dt_min: float, dt_max: float) -> None:
    """Raise a UsageError unless 0 < dt_min <= dt_max."""
    require(
        0 < dt_min <= dt_max,
        f"needs 0 < dt_min <= dt_max, got dt_min={dt_min} and dt_max={dt_max}",
    )


def for_each_head(copies: Shaped[Tensor, "S ..."], heads: int) -> Shaped[Tensor, "H ..."]:
    """The values of H heads of which each S-th has the same copy: head h has copy h mod S, as in
    state-spaces/s4 at e757cef, src/models/sequence/kernels/ssm.py (n_ssm)."""
    times = heads // len(copies)
    return copies if times == 1 else copies.repeat(times, *[1] * (copies.ndim - 1))


def copies_of(n_ssm: int | None, heads: int) -> int:
    """How many copies ``n_ssm`` asks for: one for each head if it is None.

    Raises:
        UsageError: it does not divide the number of heads.
    """
    copies = heads if n_ssm is None else n_ssm
    require(heads % copies == 0, f"n_ssm must divide d_model, got {copies} and {heads}")
    return copies


#: How a step size follows from its parameter.
DT_TRANSFORMS = ("exp", "softplus")


def step_sizes(free: Float[Tensor, "*shape"], transform: str) -> Float[Tensor, "*shape"]:
    """dt > 0 from a parameter: e^free, or log(1 + e^free), which is nearly the same below 0.1."""
    if transform == "exp":
        return positive(free)
    return F.softplus(free.clamp(-_LARGEST_LOG, _LARGEST_LOG))


def free_steps(log_dt: Float[Tensor, "*shape"], transform: str) -> Float[Tensor, "*shape"]:
    """The parameter from which :func:`step_sizes` makes dt."""
    return log_dt if transform == "exp" else torch.log(torch.expm1(torch.exp(log_dt)))


def log_uniform_steps(heads: int, dt_min: float, dt_max: float) -> Float[Tensor, " H"]:
    """log dt (H,), dt log-uniform in [dt_min, dt_max] (Gu et al. 2022, S4, appendix)."""
    low, high = math.log(dt_min), math.log(dt_max)
    return low + (high - low) * torch.rand(heads)
