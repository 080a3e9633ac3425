"""The SSM layer: parametrization, discretizer, readout, normaliser, scan, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from jaxtyping import Float, Inexact
from torch import Tensor, nn

from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import require
from ssmbench.nn.claims import DeclaringLayer
from ssmbench.nn.contracts import FirstUse
from ssmbench.nn.initial_state import (
    InitialState,
    check_state,
    has_complex_states,
    oscillator_state,
    state_of,
    zero_state,
)
from ssmbench.nn.sampling import (
    at_rate,
    at_time_steps,
    check_rate,
    check_time_steps,
    discretized,
    sampled_by_scan,
)
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
    ContinuousOscillator,
    ContinuousSystem,
    ContinuousTime,
    ContinuousTimeVaryingDiagonal,
    DiscreteLTI,
    DiscreteTimeVarying,
    Readout,
    SampledModes,
    TimeVaryingDelta,
    TimeVaryingDiagonal,
    after_input,
)


class SSMLayer(DeclaringLayer):
    """u (B, L, d_model) to y (B, L, d_model) through a linear state-space system.

    ``rate`` multiplies a continuous system's step size: 0.5 for signals that are sampled twice as
    fast as those of the training. Set it with :meth:`SequenceModel.at_rate`, which checks it.

    ``readout``: the state that outputs read (:class:`~ssmbench.systems.Readout`). With ``after``,
    the discrete system that normaliser, scan and every analysis see is the one of
    :func:`~ssmbench.systems.after_input`; states and streams are the same as with ``before``.

    What each part returns is checked once, when it is first used.

    Raises:
        UsageError: the discretizer does not suit the parametrization: there is one for a discrete
            parametrization, none for a continuous one, or one for oscillators where there are none;
            or there is a normaliser for a time-varying parametrization, or a readout after the
            input for a delta rule.
    """

    def __init__(
        self,
        parametrization: Parametrization,
        discretizer: Discretizer | None,
        scan: ScanBackend,
        normaliser: Normaliser | None = None,
        initial_state: InitialState = InitialState.zero,
        declared_states: int | None = None,
        readout: Readout = Readout.before,
    ):
        super().__init__(parametrization, discretizer, normaliser, readout)
        self.scan = scan
        self.rate = 1.0
        self._fixed: DiscreteLTI | None = None
        self.holds_own = True
        self._first_use = FirstUse()
        self._declared_states = declared_states
        self._loaded = False
        learned = initial_state is InitialState.learned
        self.register_parameter("x0", self._initial_state() if learned else None)

    def system(self) -> DiscreteLTI:
        """The discrete system for the present parameters, which is scanned and analysed.

        Raises:
            UsageError: it is time-varying.
        """
        if self._fixed is not None:
            return self._fixed
        name = type(self.parametrization).__name__
        require(not self.time_varying, f"{name} has no system without an input: {FROZEN_ONLY}")
        system = self._sampled()
        return system if self.normaliser is None else self._normalised(self.normaliser, system)

    def _training_system(self) -> DiscreteLTI:
        """As :meth:`system`, for a step of the training: a normaliser may then be less exact."""
        stepping = self.training and torch.is_grad_enabled() and self._fixed is None
        if self.normaliser is None or not stepping:
            return self.system()
        return self._normalised(self.normaliser.in_training, self._sampled())

    def _sampled(self) -> DiscreteLTI:
        """The discrete system before it is normalised."""
        system = self._parametrized()
        if isinstance(system, ContinuousSystem):
            system = self._discretized(system)
        return after_input(system) if self.readout is Readout.after else system

    @overload
    def _parametrized(self) -> ContinuousSystem | DiscreteLTI: ...
    @overload
    def _parametrized(
        self, u: Float[Tensor, "B L d"], /
    ) -> ContinuousTimeVaryingDiagonal | DiscreteTimeVarying: ...
    def _parametrized(self, *u: Float[Tensor, "B L d"]) -> ContinuousTime | Scannable:
        system = self.parametrization(*u)
        about = (system, self._declared_states, not self._loaded)
        self._first_use.check("system", check_system, self.parametrization, *about)
        return system

    @overload
    def _discretized(self, system: ContinuousSystem) -> DiscreteLTI: ...
    @overload
    def _discretized(self, system: ContinuousTimeVaryingDiagonal) -> TimeVaryingDiagonal: ...
    def _discretized(self, system: ContinuousTime) -> Scannable:
        assert self.discretizer is not None, "check_pairing requires one for continuous systems"
        before = at_rate(system, self.rate)
        after = discretized(before, self.discretizer)
        self._first_use.check("discretizer", check_discretized, self.discretizer, before, after)
        return after

    def _normalised(
        self, normalised: Callable[[DiscreteLTI], DiscreteLTI], system: DiscreteLTI
    ) -> DiscreteLTI:
        after = normalised(system)
        self._first_use.check("normaliser", check_normalised, self.normaliser, system, after)
        return after

    def _scanned(
        self, system: Scannable | SampledModes, u: Tensor, x0: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        results = scan_by_parts(self.scan, system, u, x0)
        self._first_use.check("scan", check_scanned, self.scan, system, u, results)
        return results

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Note that parameters were loaded: a system of trained ones may be infinite or NaN, which
        is divergence and not an error of the parametrization."""
        self._loaded = True
        super()._load_from_state_dict(*args, **kwargs)

    def hold(self, system: DiscreteLTI | None = None) -> None:
        """Use ``system`` from now on, whatever the parameters are; None for the present one.

        ``holds_own`` then says whether it is the one that followed from the parameters."""
        self._fixed, self.holds_own = system or self.system(), self.holds_own and system is None

    def system_for(
        self,
        u: Float[Tensor, "B L d"],
        dt: Float[Tensor, "B L"] | None = None,
        selection: Float[Tensor, "B L s"] | None = None,
    ) -> Scannable:
        """The system that the input u is scanned with; ``dt`` and ``selection`` as in
        :meth:`forward`. Of a time-varying one, rows that heads share are repeated for each of them.

        Raises:
            UsageError: see :meth:`forward`.
        """
        selects = self._selecting(u, selection)
        if not self.time_varying and dt is None:
            return self._training_system()
        system = self._read(self._varying(u, dt, selects))
        return system.expanded() if isinstance(system, TimeVaryingDiagonal) else system

    def _to_scan(
        self, u: Tensor, dt: Tensor | None, selection: Tensor | None
    ) -> Scannable | SampledModes:
        """As :meth:`system_for`, but not yet sampled where the scan does that itself."""
        selects = self._selecting(u, selection)
        if not self.time_varying and dt is None:
            return self._training_system()
        system = self._varying(u, dt, selects)
        if isinstance(system, ContinuousTimeVaryingDiagonal):
            assert self.discretizer is not None, "check_pairing requires one"
            at = at_rate(system, self.rate)
            fused = sampled_by_scan(at, self.discretizer, self.readout, self.scan, u)
            return self._read(system) if fused is None else fused
        return self._read(system)

    def _varying(self, u: Tensor, dt: Tensor | None, selects: Tensor) -> ContinuousTime | Scannable:
        """The system that varies with time, by its selection or by the time steps."""
        system = self._parametrized(selects) if self.time_varying else self._parametrized()
        if dt is None:
            return system
        self._check_time_steps(dt, tuple(u.shape[:2]))
        return at_time_steps(system, dt, type(self.parametrization))

    def _read(self, system: ContinuousTime | Scannable) -> Scannable:
        """Sampled, if it is continuous, and read as :attr:`readout` says."""
        sampled = self._discretized(system) if isinstance(system, ContinuousTime) else system
        if self.readout is Readout.before:
            return sampled
        assert not isinstance(sampled, TimeVaryingDelta), "check_readout refuses it"
        return after_input(sampled)

    def _selecting(self, u: Tensor, selection: Tensor | None) -> Tensor:
        """The signal that selects the matrices: the input, or the one that is given apart."""
        width = self.parametrization.d_selection
        if selection is None and width is None:
            return u
        name = type(self.parametrization).__name__
        require(width is not None, f"{name} selects by the layer's input, and takes no selection")
        wanted = (*u.shape[:2], width)
        found = None if selection is None else tuple(selection.shape)
        require(
            found == wanted, f"the selection of {name} must have the shape {wanted}, got {found}"
        )
        assert selection is not None
        return selection

    def idle_system(self, like: Tensor) -> Scannable:
        """The system for one step of zeros, by which its sizes are known; in the precision and on
        the device of ``like``."""
        if not self.time_varying:
            return self.system()
        width = self.parametrization.d_selection
        selection = None if width is None else like.new_zeros(1, 1, width)
        return self.system_for(like.new_zeros(1, 1, self.parametrization.d_model), None, selection)

    def _check_time_steps(self, dt: Tensor, shape: tuple[int, ...]) -> None:
        owner = f"dt: {type(self.parametrization).__name__}"
        require(self._fixed is None, f"{owner} is frozen with the system of uniform sampling")
        require(
            self.normaliser is None,
            f"{owner} has a normaliser, whose bound holds for uniform sampling only",
        )
        check_time_steps(dt, shape)

    def check_rate(self, rate: float) -> None:
        """Raise a UsageError unless :attr:`rate` can be set to ``rate``."""
        check_rate(type(self.parametrization), rate)
        frozen = self._fixed is not None
        require(not frozen, "rate: this network is frozen; set the rate before freezing it")

    @torch.no_grad()
    def check_uneven(self) -> None:
        """Raise a UsageError unless :meth:`forward` takes a ``dt``, whatever its values."""
        width = self.parametrization.d_model if self.time_varying else 0
        like, selects = next(self.parameters()), self.parametrization.d_selection
        selection = None if selects is None else like.new_zeros(1, 1, selects)
        self.system_for(like.new_zeros(1, 1, width), like.new_ones(1, 1), selection)

    def optimizer_options(self) -> Mapping[str, ParameterOptions]:
        """The initial state is trained like a bias."""
        return {} if self.x0 is None else {"x0": ParameterOptions("main")}

    def forward(
        self,
        u: Float[Tensor, "B L d"],
        dt: Float[Tensor, "B L"] | None = None,
        selection: Float[Tensor, "B L s"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        """``dt`` (B, L), for non-uniform sampling: the time from each sample to the next, in units
        of the system's own step size; None means 1 everywhere. ``selection`` (B, L, d_selection):
        the signal by which a time-varying system is selected where that is not u.

        Raises:
            UsageError: a dt of another shape, or not positive; a dt for a system that is discrete
                or dense, or that has a normaliser; a selection that the parametrization does not
                take, or none where it needs one.
        """
        return self.run(u, dt=dt, selection=selection)[0]

    def run(
        self,
        u: Float[Tensor, "B L d"],
        x0: Inexact[Tensor, ...] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
        selection: Float[Tensor, "B L s"] | None = None,
    ) -> tuple[Float[Tensor, "B L d"], Inexact[Tensor, "B H N"]]:
        """Outputs and the state after them, from the state x0 (B, H, N), or from the layer's own
        initial state if None. An empty batch has empty outputs, and every gradient is zero.

        Raises:
            UsageError: a signal without steps, or a state of another shape than the system's; see
                also :meth:`forward`.
        """
        _check_signal(u)
        if u.shape[0] == 0:  # one signal of zeros keeps the parameters in the graph
            more = (_one_more(x0, 0.0), _one_more(dt, 1.0), _one_more(selection, 0.0))
            y, final = self.run(_one_more(u, 0.0), *more)
            return y[:0], final[:0]
        # Half precision would move the poles: under autocast, the layer keeps its own precision.
        with torch.autocast(u.device.type, enabled=False):
            system = self._to_scan(u, dt, selection)
            channels = (self.parametrization, system, u.shape[-1])
            self._first_use.check("channels", check_channels, *channels)
            u = u.to(torch.promote_types(u.dtype, system.signal_dtype))
            start = self.start(u.shape[0], system, x0)
            u = u.unflatten(-1, (system.heads, system.inputs))
            y, final = self._scanned(system, u, start)
            return y.flatten(-2), final

    def start(
        self, batch: int, system: Scannable | SampledModes, x0: Inexact[Tensor, ...] | None
    ) -> Inexact[Tensor, "B H N"] | None:
        """The state before the first step, in the form that ``system`` takes; None if zero."""
        start = state_of(self.x0, batch) if x0 is None and self.x0 is not None else x0
        if start is not None and self.parametrization.gives(ContinuousOscillator):
            start = oscillator_state(start, complex_=has_complex_states(system))
        check_state(start, (batch, system.heads, system.states))
        return start

    @torch.no_grad()
    def _initial_state(self) -> nn.Parameter:
        return zero_state(self.idle_system(torch.zeros(())))


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
    """The batch with one more element, filled with ``fill``."""
    if batch is None:
        return None
    return torch.cat([batch, batch.new_full((1, *batch.shape[1:]), fill)])
