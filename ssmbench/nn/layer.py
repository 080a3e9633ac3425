"""The SSM layer: parametrization, discretizer, normaliser and scan, in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar, overload

import torch
from jaxtyping import Float, Inexact
from torch import Tensor, nn

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.nn.contracts import FirstUse
from ssmbench.nn.system_contracts import (
    check_channels,
    check_discretized,
    check_normalised,
    check_scanned,
    check_system,
)
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import ParameterOptions, Parametrization
from ssmbench.scans.base import ScanBackend, Scannable, scan_by_parts
from ssmbench.systems import (
    FROZEN_ONLY,
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    ContinuousTime,
    ContinuousTimeVaryingDiagonal,
    DiscreteLTI,
    TimeVaryingDiagonal,
    at_steps,
)

Continuous = TypeVar("Continuous", bound=ContinuousTime)


class InitialState(Enum):
    """The state before the first step: zero, or a parameter that starts at zero."""

    zero = "zero"
    learned = "learned"


class SSMLayer(nn.Module):
    """u (B, L, d_model) to y (B, L, d_model) through a linear state-space system.

    ``rate`` multiplies a continuous system's step size: 0.5 for signals that are sampled twice as
    fast as those of the training. Set it by :meth:`SequenceModel.at_rate`, which checks it.

    What the parts return is checked on its first use, once.

    Raises:
        UsageError: a discretizer for a discrete parametrization, none for a continuous one, or one
            that integrates oscillators for a parametrization that has none; a normaliser for a
            time-varying one.
    """

    #: The initial state (H, N), or (H, N, 2) where states are complex; None where it is zero.
    x0: nn.Parameter | None

    def __init__(
        self,
        parametrization: Parametrization,
        discretizer: Discretizer | None,
        scan: ScanBackend,
        normaliser: Normaliser | None = None,
        initial_state: InitialState = InitialState.zero,
        declared_states: int | None = None,
    ):
        super().__init__()
        check_pairing(type(parametrization), discretizer and type(discretizer))
        require(
            normaliser is None or not parametrization.is_time_varying(),
            f"{type(parametrization).__name__} takes no normaliser: {FROZEN_ONLY}, and that "
            "bounds nothing (set model.normaliser=null)",
        )
        self.parametrization = parametrization
        self.discretizer = discretizer
        self.normaliser = normaliser
        self.scan = scan
        self.rate = 1.0
        self._held: DiscreteLTI | None = None
        self._first_use = FirstUse()
        self._declared_states = declared_states
        self._loaded = False
        learned = initial_state is InitialState.learned
        self.register_parameter("x0", self._resting() if learned else None)

    @property
    def time_varying(self) -> bool:
        """Whether the system follows from the input, so that there is none without one."""
        return self.parametrization.is_time_varying()

    def system(self) -> DiscreteLTI:
        """The discrete system for the present parameters: what is scanned and what is verified.

        Raises:
            UsageError: it is time-varying.
        """
        if self._held is not None:
            return self._held
        name = type(self.parametrization).__name__
        require(not self.time_varying, f"{name} has no system without an input: {FROZEN_ONLY}")
        system = self._parametrized()
        if isinstance(system, ContinuousSystem):
            system = self._discretized(system)
        return system if self.normaliser is None else self._normalised(system, self.normaliser)

    @overload
    def _parametrized(self) -> ContinuousSystem | DiscreteLTI: ...
    @overload
    def _parametrized(
        self, u: Float[Tensor, "B L d"], /
    ) -> ContinuousTimeVaryingDiagonal | TimeVaryingDiagonal: ...
    def _parametrized(self, *u: Float[Tensor, "B L d"]) -> ContinuousTime | Scannable:
        system = self.parametrization(*u)
        facts = (system, self._declared_states, not self._loaded)
        self._first_use.check("system", check_system, self.parametrization, *facts)
        return system

    @overload
    def _discretized(self, system: ContinuousSystem) -> DiscreteLTI: ...
    @overload
    def _discretized(self, system: ContinuousTimeVaryingDiagonal) -> TimeVaryingDiagonal: ...
    def _discretized(self, system: ContinuousTime) -> Scannable:
        assert self.discretizer is not None, "check_pairing lets no continuous system pass"
        before = _resampled(system, self.rate)
        after = self.discretizer(before)
        self._first_use.check("discretizer", check_discretized, self.discretizer, before, after)
        return after

    def _normalised(self, system: DiscreteLTI, normaliser: Normaliser) -> DiscreteLTI:
        after = normaliser(system)
        self._first_use.check("normaliser", check_normalised, normaliser, system, after)
        return after

    def _scanned(self, system: Scannable, u: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
        results = scan_by_parts(self.scan, system, u, x0)
        self._first_use.check("scan", check_scanned, self.scan, system, u, results)
        return results

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Trained parameters may give a system that is not finite: divergence, and no fault."""
        self._loaded = True
        super()._load_from_state_dict(*args, **kwargs)

    def hold(self, system: DiscreteLTI) -> None:
        """Be ``system`` from now on, whatever the parameters."""
        self._held = system

    def system_for(
        self, u: Float[Tensor, "B L d"], dt: Float[Tensor, "B L"] | None = None
    ) -> Scannable:
        """The system that the input u is scanned with, sampled at :meth:`forward`'s ``dt``.

        Raises:
            UsageError: see :meth:`forward`.
        """
        if not self.time_varying and dt is None:
            return self.system()
        system = self._parametrized(u) if self.time_varying else self._parametrized()
        if dt is not None:
            system = self._at_steps(system, u, dt)
        return self._discretized(system) if isinstance(system, ContinuousTime) else system

    def _at_steps(
        self, system: ContinuousTime | Scannable, u: Tensor, dt: Tensor
    ) -> ContinuousTimeVaryingDiagonal:
        parametrization = self.parametrization
        owner = f"dt: {type(parametrization).__name__}"
        continuous = parametrization.is_continuous()
        require(continuous, f"{owner} has no step size: {parametrization.no_discretizer_reason}")
        oscillates = parametrization.gives(ContinuousOscillator)
        kind = "oscillators" if oscillates else "a dense system"
        if not isinstance(system, ContinuousDiagonal | ContinuousTimeVaryingDiagonal):
            raise UsageError(f"{owner} gives {kind}; steps of their own need a diagonal system")
        require(self._held is None, f"{owner} is held at the system that even steps give")
        regular = self.normaliser is None
        require(regular, f"{owner} has a normaliser, which bounds the gain at even steps only")
        shape = tuple(u.shape[:2])
        require(tuple(dt.shape) == shape, f"dt must be (B, L) = {shape}, got {tuple(dt.shape)}")
        positive = bool(((dt > 0) & torch.isfinite(dt)).all())
        require(positive, "dt must be positive and finite everywhere")
        return at_steps(system, dt)

    def declared_gain(self) -> float | None:
        """The L2 gain that this layer declares; None where none, or the discretizer loses it."""
        facts = None if self.discretizer is None else self.discretizer.facts
        if self.normaliser is not None:
            stable = self.parametrization.stable_by_construction and (not facts or facts.a_stable)
            return self.normaliser.gamma if stable and self.normaliser.infinite_horizon else None
        return None if facts and not facts.preserves_gain else self.parametrization.declared_gain()

    def optimizer_options(self) -> Mapping[str, ParameterOptions]:
        """An initial state is trained as a bias is."""
        return {} if self.x0 is None else {"x0": ParameterOptions("main")}

    def forward(
        self, u: Float[Tensor, "B L d"], dt: Float[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L d"]:
        """``dt`` (B, L), for signals that are not sampled evenly: the time from each sample to the
        next, in units of the system's own step size; 1 everywhere where None.

        Raises:
            UsageError: a dt for a discrete or a dense system or one with a normaliser, of another
                shape, or not positive.
        """
        return self.run(u, dt=dt)[0]

    def run(
        self,
        u: Float[Tensor, "B L d"],
        x0: Inexact[Tensor, ...] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> tuple[Float[Tensor, "B L d"], Inexact[Tensor, "B H N"]]:
        """Outputs and the state after them, from the state x0 (B, H, N); from the layer's own
        where None. An empty batch has empty outputs, and every gradient is zero.

        Raises:
            UsageError: a signal without steps, or a state of another shape than the system's; see
                also :meth:`forward`.
        """
        _check_signal(u)
        if u.shape[0] == 0:  # a batch of one runs everywhere, and keeps the parameters in the graph
            y, final = self.run(_one_more(u, 0.0), _one_more(x0, 0.0), _one_more(dt, 1.0))
            return y[:0], final[:0]
        # Half precision would move the poles: under autocast, the layer keeps its own precision.
        with torch.autocast(u.device.type, enabled=False):
            system = self.system_for(u, dt)
            channels = (self.parametrization, system, u.shape[-1])
            self._first_use.check("channels", check_channels, *channels)
            u = u.to(torch.promote_types(u.dtype, system.D.real.dtype))
            start = self._start(u.shape[0]) if x0 is None else x0
            if self.parametrization.gives(ContinuousOscillator) and start is not None:
                start = _two_numbers(start, complex_=_is_complex(system))
            _check_state(start, (u.shape[0], system.heads, system.states))
            u = u.unflatten(-1, (system.heads, system.inputs))
            y, final = self._scanned(system, u, start)
            return y.flatten(-2), final

    @torch.no_grad()
    def _resting(self) -> nn.Parameter:
        """A state of zeros: (H, N), or (H, N, 2) where states are complex.

        Kept as real numbers because ``Module.double`` passes complex parameters by.
        """
        width = self.parametrization.d_model if self.time_varying else 0
        system = self.system_for(torch.zeros(1, 1, width))
        shape = (system.heads, system.states, *([2] if _is_complex(system) else []))
        return nn.Parameter(system.D.real.new_zeros(shape))

    def _start(self, batch: int) -> Inexact[Tensor, "B H N"] | None:
        if self.x0 is None:
            return None
        state = torch.view_as_complex(self.x0) if self.x0.ndim == 3 else self.x0
        return state.expand(batch, -1, -1)


def _resampled(system: Continuous, rate: float) -> Continuous:
    """The system with its step sizes times ``rate``, in the precision of its matrices."""
    if rate == 1:
        return system
    return replace(system, dt=rate * system.dt.to(system.D.real.dtype))


def _is_complex(system: Scannable) -> bool:
    """Whether the system's states are complex."""
    return system.dynamics.is_complex() or system.B.is_complex()


def _two_numbers(x: Inexact[Tensor, "B H N"], complex_: bool) -> Inexact[Tensor, "B H K"]:
    """States of oscillators, of two real numbers each, as complex ones (B, H, N) or in a row
    (B, H, 2N): whether all oscillators are conjugate pairs may change from step to step."""
    if complex_ == x.is_complex():
        return x
    if complex_:
        return torch.view_as_complex(x.unflatten(-1, (x.shape[-1] // 2, 2)).contiguous())
    return torch.view_as_real(x).flatten(-2)


def _check_signal(u: Tensor) -> None:
    require(
        u.ndim == 3 and u.shape[1] > 0,
        "an SSM layer's input must have the shape (batch, steps, channels) with at least one step, "
        f"got {tuple(u.shape)}",
    )


@overload
def _one_more(batch: Tensor, fill: float) -> Tensor: ...
@overload
def _one_more(batch: None, fill: float) -> None: ...
@overload
def _one_more(batch: Tensor | None, fill: float) -> Tensor | None: ...
def _one_more(batch: Tensor | None, fill: float) -> Tensor | None:
    """One more element of a batch, of ``fill``."""
    if batch is None:
        return None
    return torch.cat([batch, batch.new_full((1, *batch.shape[1:]), fill)])


def _check_state(state: Tensor | None, shape: tuple[int, ...]) -> None:
    require(
        state is None or tuple(state.shape) == shape,
        f"an SSM layer's state must have the shape (batch, heads, states) = {shape}"
        + ("" if state is None else f", got {tuple(state.shape)}"),
    )


def check_rate(layer: SSMLayer, rate: float) -> None:
    """Raise a UsageError unless the layer's system can be had at another sampling rate."""
    require(0 < rate < math.inf, f"rate: must be positive and finite, got {rate}")
    kind = type(layer.parametrization)
    require(
        kind.is_continuous(),
        f"{kind.__name__} has no other sampling rate: {kind.no_discretizer_reason}",
    )
    require(layer._held is None, "rate: this network is frozen; set the rate before freezing it")


def check_pairing(
    parametrization: type[Parametrization], discretizer: type[Discretizer] | None
) -> None:
    """Raise a UsageError unless the parametrization's kind of system fits the choice."""
    name = parametrization.__name__
    if discretizer and not parametrization.is_continuous():
        raise UsageError(
            f"{name} takes no discretizer: {parametrization.no_discretizer_reason} "
            "(set model.discretizer=null)"
        )
    if not discretizer and parametrization.is_continuous():
        raise UsageError(
            f"{name} is a continuous-time system and needs a discretizer: "
            "set model.discretizer, for example to zoh"
        )
    if discretizer and not discretizer.samples(parametrization.system_type):
        raise UsageError(
            f"{discretizer.__name__} samples {discretizer.accepts_what}, only, and {name} gives a "
            f"{parametrization.system_type.__name__}: set model.discretizer to another, for "
            "example to zoh"
        )
