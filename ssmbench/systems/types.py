"""The types of system by their time domain."""

from __future__ import annotations

from ssmbench.systems.delta import TimeVaryingDelta
from ssmbench.systems.lti import ContinuousSystem, DiscreteSystem
from ssmbench.systems.time_varying import ContinuousTimeVaryingDiagonal, TimeVaryingDiagonal

#: Time-varying systems in discrete time: those that can be scanned.
DiscreteTimeVarying = TimeVaryingDiagonal | TimeVaryingDelta

#: All types of system in continuous time, and all in discrete time.
ContinuousTime = ContinuousSystem | ContinuousTimeVaryingDiagonal
DiscreteTime = DiscreteSystem | DiscreteTimeVarying
