"""Linear systems as immutable typed values, shared by all stages.

* continuous time: ``x'(t) = A x(t) + B u(t)``, ``y = C x + D u``, to be sampled at step ``dt``;
* discrete time: ``x[k+1] = A x[k] + B u[k]``, ``y[k] = C x[k] + D u[k]`` (control's convention:
  the output at step k depends on inputs up to k - 1 through the state, and on u[k] through D).

Every system is a batch of H independent systems (*heads*; together a *bank*), each with N states,
m inputs and p outputs, and is either diagonal or dense. Time domain and structure are types, not
flags. A diagonal system with
``conjugate=True`` stores one of each pair of complex conjugate modes: ``y = 2 Re(C x) + D u``.
A third structure, in continuous time only, is a bank of second-order oscillators.

The matrices of a *time-varying* system differ from step to step. It is not a
:class:`LinearSystem`: it has poles and a gain only when frozen at a step
(:meth:`TimeVaryingSystem.at`). Its matrices are diagonal, or those of the delta rule.
"""

from ssmbench.systems.base import FROZEN_ONLY, LinearSystem, Value
from ssmbench.systems.delta import TimeVaryingDelta
from ssmbench.systems.lti import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DenseSystem,
    DiagonalSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteLTI,
    DiscreteSystem,
)
from ssmbench.systems.oscillator import (
    PAIR_MARGIN,
    ContinuousOscillator,
    block_diagonal,
    interleaved,
)
from ssmbench.systems.readout import NO_GAIN_AFTER, Readout, after_input
from ssmbench.systems.sampled import ElementwiseRule, Rule, SampledModes, Steps
from ssmbench.systems.time_varying import (
    ContinuousTimeVaryingDiagonal,
    TimeVaryingDiagonal,
    TimeVaryingModes,
    TimeVaryingSystem,
    at_steps,
    by_head,
)
from ssmbench.systems.types import (
    ContinuousTime,
    DiscreteTime,
    DiscreteTimeVarying,
)

__all__ = [
    "FROZEN_ONLY",
    "NO_GAIN_AFTER",
    "PAIR_MARGIN",
    "ContinuousDense",
    "ContinuousDiagonal",
    "ContinuousOscillator",
    "ContinuousSystem",
    "ContinuousTime",
    "ContinuousTimeVaryingDiagonal",
    "DenseSystem",
    "DiagonalSystem",
    "DiscreteDense",
    "DiscreteDiagonal",
    "DiscreteLTI",
    "DiscreteSystem",
    "DiscreteTime",
    "DiscreteTimeVarying",
    "ElementwiseRule",
    "LinearSystem",
    "Readout",
    "Rule",
    "SampledModes",
    "Steps",
    "TimeVaryingDelta",
    "TimeVaryingDiagonal",
    "TimeVaryingModes",
    "TimeVaryingSystem",
    "Value",
    "after_input",
    "at_steps",
    "block_diagonal",
    "by_head",
    "interleaved",
]
