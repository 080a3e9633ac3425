"""The currency: linear systems as typed values.

* continuous time: ``x'(t) = A x(t) + B u(t)``, ``y = C x + D u``, to be sampled at step ``dt``;
* discrete time: ``x[k+1] = A x[k] + B u[k]``, ``y[k] = C x[k] + D u[k]`` (control's convention:
  the output at step k sees inputs up to k - 1 through the state, and u[k] through D).

Every system is a *bank* of H independent heads with N states, m inputs and p outputs each, and is
either diagonal or dense. Time domain and structure are types, not flags. A diagonal system with
``conjugate=True`` stores one of each pair of complex conjugate modes: ``y = 2 Re(C x) + D u``.
A third structure, in continuous time only, is a bank of second-order oscillators.

A *time-varying* system has other matrices at each step of each sequence. It is no
:class:`LinearSystem`: it has poles and a gain only frozen in time (:meth:`TimeVaryingSystem.at`).
"""

from ssmbench.systems.base import FROZEN_ONLY, LinearSystem, Value
from ssmbench.systems.lti import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousSystem,
    DenseSystem,
    DiagonalSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
)
from ssmbench.systems.oscillator import (
    PAIR_MARGIN,
    ContinuousOscillator,
    block_diagonal,
    interleaved,
)
from ssmbench.systems.time_varying import (
    ContinuousTime,
    ContinuousTimeVaryingDiagonal,
    DiscreteTime,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
    at_steps,
)

__all__ = [
    "FROZEN_ONLY",
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
    "DiscreteSystem",
    "DiscreteTime",
    "LinearSystem",
    "TimeVaryingDiagonal",
    "TimeVaryingSystem",
    "Value",
    "at_steps",
    "block_diagonal",
    "interleaved",
]
