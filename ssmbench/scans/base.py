"""Base class of scan backends, and what they share."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import UnionType
from typing import Any, ClassVar, TypeVar, get_args

import torch
from jaxtyping import Inexact
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.registry import NoOptions, scans
from ssmbench.systems import (
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteLTI,
    DiscreteSystem,
    DiscreteTime,
    DiscreteTimeVarying,
    SampledModes,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
)

#: What backends run, each of them those of its :attr:`ScanBackend.system_types`.
Scannable = DiscreteLTI | DiscreteTimeVarying

#: ``linear_scan(a, b (B, L, N), x0 (B, N)) -> s (B, L, N)``, ``s[k] = a s[k-1] + b[k]``; a is (N,),
#: or (B, L, N) where it varies with time.
LinearScan = Callable[..., Tensor]


def widening(method: Callable[..., Any]) -> Callable[..., Any]:
    """Apply the rule of :class:`ScanBackend` for half precision to a method of a backend."""

    @functools.wraps(method)
    def run(self: ScanBackend, *inputs: Any, **named: Any) -> Any:
        inputs = tuple(map(_widen, inputs))
        device = next(x for x in (*inputs, *named.values()) if isinstance(x, Tensor)).device
        with torch.autocast(device.type, enabled=False):
            return method(self, *inputs, **{key: _widen(x) for key, x in named.items()})

    return run


def _widen(value: Any) -> Any:
    """Tensors and systems in half precision as float32; anything else as it is."""
    if isinstance(value, DiscreteSystem | TimeVaryingSystem):
        return value.map(_widen)
    if isinstance(value, Tensor):
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value


class ScanBackend(ABC):
    """Runs a discrete system over a signal, differentiable in the system, u and x0.

    Half precision (bfloat16, float16) is for storage, never for computation: such inputs are
    widened to float32 on entry, autocast is off inside, and states, sums over time and outputs are
    those of the widened inputs, in float32 or complex64 (or wider, where another input is).
    Gradients come back in the dtype of each input. A backend gets this from :func:`widening`, or
    from kernels that widen on loading.
    """

    #: Rank for ``auto``: of the backends that can run a system it takes the one with the largest
    #: number (triton has 30, cpu 20, chunked 10). None: never chosen, and not benchmarked.
    preference: ClassVar[float | None] = 0
    #: Whether :meth:`linear_scan` is a Python loop where a varies with time, as the default is.
    loops_where_varying: ClassVar[bool] = True

    #: The types of system that :meth:`__call__` takes. The delta rule
    #: (:class:`~ssmbench.systems.TimeVaryingDelta`), which is not a linear scan, is to be named.
    system_types: ClassVar[type | UnionType] = DiscreteLTI | TimeVaryingDiagonal

    #: Whether :meth:`__call__` takes time-varying systems of which several heads share rows.
    #: :func:`scan_by_parts` gives others these systems ``expanded``, and so a subclass that defines
    #: ``__call__`` anew, unless it says otherwise.
    takes_shared_rows: ClassVar[bool] = False

    #: Whether :meth:`scan_sampled` is defined where the scans that it stands for are, or below.
    _scan_sampled_is_current: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        sampled, *scans = (
            next(place for place, base in enumerate(cls.__mro__) if name in vars(base))
            for name in ("scan_sampled", "__call__", "linear_scan")
        )
        cls._scan_sampled_is_current = sampled <= min(scans)
        if "__call__" in vars(cls) and "takes_shared_rows" not in vars(cls):
            cls.takes_shared_rows = False

    def __init__(self, config: NoOptions):
        self.config = config

    def unsupported_reason(
        self, system: Scannable | SampledModes, device: torch.device
    ) -> str | None:
        """Why this backend cannot run ``system``, which is of its :attr:`system_types` or is to
        become one, on ``device``, or None when it can."""
        return None

    def refusal(self, system: Scannable, device: torch.device) -> str | None:
        """Why it cannot run ``system`` on ``device``, by its type or otherwise; None if it can."""
        if not isinstance(system, self.system_types):
            allowed = self.system_types
            types = [allowed] if isinstance(allowed, type) else get_args(allowed)
            kinds = ", ".join(kind.__name__ for kind in types)
            return f"it runs {kinds}, and this is a {type(system).__name__}"
        return self.unsupported_reason(system, device)

    def linear_scan_unsupported_reason(self, b: Tensor) -> str | None:
        """Why :meth:`linear_scan` cannot run on b's device and dtype, or None when it can."""
        return None

    def fuses(self, system: SampledModes, u: Tensor) -> bool:
        """Whether :meth:`scan_sampled` takes ``system`` over u (B, L, H m). Where it does not, the
        discretizer samples the system and :meth:`__call__` scans it."""
        return False

    def samples(self, system: SampledModes, u: Tensor) -> bool:
        """Whether to call :meth:`scan_sampled`: it :meth:`fuses` the system, and is not inherited
        by a subclass that scans in its own way, with another ``__call__`` or ``linear_scan``."""
        return self._scan_sampled_is_current and self.fuses(system, u)

    def scan_sampled(
        self,
        system: SampledModes,
        u: Inexact[Tensor, "B L H m"],
        x0: Inexact[Tensor, "B H N"] | None = None,
    ) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
        """As :meth:`__call__` of the discrete system that the rule ``system.sampling`` makes of
        ``system``, with outputs that read the states of ``system.readout``, in one pass over time.
        Only for what it :meth:`samples`."""
        raise NotImplementedError(f"{type(self).__name__} fuses nothing")

    @abstractmethod
    def __call__(
        self,
        system: Scannable,
        u: Inexact[Tensor, "B L H m"],
        x0: Inexact[Tensor, "B H N"] | None = None,
    ) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
        """Outputs and final state.

        ``x[k+1] = A x[k] + B u[k]``, ``y[k] = C x[k] + D u[k]``, ``x[0] = x0`` (zero where None);
        the final state is x[L]. Real for conjugate pairs and real systems, complex otherwise.
        Diagonal time-varying systems go through :func:`time_varying_scan`, hence through
        :meth:`linear_scan`, unless a backend has kernels that write fewer states.
        """

    @widening
    def linear_scan(
        self,
        a: Inexact[Tensor, "*shape"],
        b: Inexact[Tensor, "B L N"],
        x0: Inexact[Tensor, "B N"] | None = None,
        *,
        reverse: bool = False,
    ) -> Inexact[Tensor, "B L N"]:
        """``s[k] = a s[k-1] + b[k]`` with every state written; s[-1] is x0 (zero where None).

        a is (N,), or (B, L, N) where it varies with time. In reverse ``s[k] = a[k] s[k+1] + b[k]``,
        x0 entering at the end. All of one dtype once half precision is widened. Backends override
        this loop with their own.
        """
        return sequential_linear_scan(a, b, x0, reverse=reverse)


def ranked_backends() -> dict[str, ScanBackend]:
    """Every registered backend that has a preference, by name, the most preferred first."""
    rated = [entry for entry in scans if entry.factory.preference is not None]
    rated.sort(key=lambda entry: -entry.factory.preference)  # of equal ones the first by name
    return {entry.name: entry.build() for entry in rated}


Rows = TypeVar("Rows", bound=Scannable)


def rows_for(scan: ScanBackend, system: Rows) -> Rows:
    """The system with rows of every head, unless the backend takes rows that heads share."""
    if isinstance(system, TimeVaryingDiagonal) and not scan.takes_shared_rows:
        return system.expanded()
    return system


def scan_by_parts(
    scan: ScanBackend, system: Scannable | SampledModes, u: Tensor, x0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``scan(system, u, x0)``, with the conjugate pairs that a dense system declares scanned as
    diagonal modes, apart from its other states: work that grows linearly with their number.

    Raises:
        UsageError: the system is of a type that the backend does not run.
    """
    if isinstance(system, SampledModes):
        return scan.scan_sampled(system, u, x0)
    if not isinstance(system, scan.system_types):
        name = next((e.name for e in scans if e.factory is type(scan)), type(scan).__name__)
        raise UsageError(f"scan {name!r} cannot run this: {scan.refusal(system, u.device)}")
    system = rows_for(scan, system)
    if not (isinstance(system, DiscreteDense) and system.pairs):
        return scan(system, u, x0)
    starts = (None, None) if x0 is None else system.split_states(x0)
    results = [scan(part, u, start) for part, start in zip(system.split(), starts, strict=True)]
    (y, pairs), (more, others) = results
    return y + more, system.joined_states(pairs, others)


def state_dtype(system: DiscreteTime, u: Tensor) -> torch.dtype:
    """The dtype of the states that ``system`` driven by ``u`` goes through."""
    return torch.promote_types(system.state_dtype, u.dtype)


def initial_state(system: DiscreteTime, u: Tensor, x0: Tensor | None) -> Tensor:
    """x0 (B, H, N) in the dtype of the states; zero where None."""
    dtype = state_dtype(system, u)
    if x0 is None:
        return u.new_zeros(u.shape[0], system.heads, system.states, dtype=dtype)
    return x0.to(dtype)


def read_out(system: DiscreteSystem, states: Tensor, u: Tensor) -> Tensor:
    """y (B, L, H, p) from the states x[0..L-1] (B, L, H, N) and the inputs (B, L, H, m)."""
    C = system.C.to(states.dtype)
    if isinstance(system, DiscreteDiagonal) and system.conjugate:
        # 2 Re(C x) as a real product of (re, im) pairs: half the work of the complex one
        weights = torch.view_as_real(2 * C.conj().resolve_conj()).flatten(2)
        states = torch.view_as_real(states).flatten(3)
        through_states = torch.einsum("hpn,blhn->blhp", weights, states)
    else:
        through_states = torch.einsum("hpn,blhn->blhp", C, states)
    direct = torch.einsum("hpm,blhm->blhp", system.D, u.to(system.D.dtype))
    return through_states + direct


def drive_states(B: Tensor, u: Tensor) -> Tensor:
    """B u (B, L, H, N) for B (H, N, m); a real product where only B is complex."""
    if not B.is_complex() or u.is_complex():
        return torch.einsum("hnm,blhm->blhn", B, u.to(B.dtype))
    parts = torch.view_as_real(B.transpose(1, 2)).flatten(2)  # (H, m, 2 N)
    drive = torch.einsum("hmk,blhm->blhk", parts, u.to(parts.dtype))
    return torch.view_as_complex(drive.unflatten(-1, (-1, 2)))


def scan_through_states(
    system: DiscreteDiagonal, u: Tensor, x0: Tensor | None, linear_scan: LinearScan
) -> tuple[Tensor, Tensor]:
    """Outputs and final state of a diagonal system, by a scan that writes every state."""
    start = initial_state(system, u, x0)
    batch, length = u.shape[:2]
    drive = drive_states(system.B.to(start.dtype), u)
    lam = system.lam.to(start.dtype).reshape(-1)
    after = linear_scan(lam, drive.reshape(batch, length, -1), start.reshape(batch, -1))
    after = after.reshape(batch, length, system.heads, system.states)
    before = torch.cat([start[:, None], after[:, :-1]], dim=1)
    return read_out(system, before, u), after[:, -1]


def sequential_scan(system: DiscreteSystem, u: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
    """A scan by its definition, one step at a time, in the dtype of its inputs."""
    state = initial_state(system, u, x0)
    drive = torch.einsum("hnm,blhm->blhn", system.B.to(state.dtype), u.to(state.dtype))
    states = []
    for b in drive.unbind(1):  # indexing b[:, k] would make the backward quadratic in L
        states.append(state)
        state = advance(system, state) + b
    return read_out(system, torch.stack(states, 1), u), state


def time_varying_scan(
    system: TimeVaryingDiagonal,
    u: Inexact[Tensor, "B L H m"],
    x0: Inexact[Tensor, "B H N"] | None,
    linear_scan: LinearScan,
) -> tuple[Inexact[Tensor, "B L H p"], Inexact[Tensor, "B H N"]]:
    """Outputs and final state of a time-varying system, by a scan that writes every state.

    Takes memory for several tensors (B, L, H, N). States are real where lam, B, u and x0 are.
    """
    system = system.expanded()
    start = initial_state(system, u, x0)
    drive = _times(system.B, u).to(start.dtype)
    flat = (t.flatten(2) for t in (system.lam.to(start.dtype), drive))
    after = linear_scan(*flat, start.flatten(1)).unflatten(-1, start.shape[1:])
    before = torch.cat([start[:, None], after[:, :-1]], dim=1)
    return read_out_varying(system, before, u), after[:, -1]


def read_out_varying(system: TimeVaryingDiagonal, states: Tensor, u: Tensor) -> Tensor:
    """y (B, L, H, p) from the states x[0..L-1] (B, L, H, N) and the inputs (B, L, H, m)."""
    C = system.C[:, :, :1] if system.C.stride(2) == 0 else system.C  # one for all heads
    C = C.to(states.dtype)
    if system.conjugate:  # 2 Re(C x) as a real product of (re, im) pairs
        C = torch.view_as_real(2 * C.conj().resolve_conj()).flatten(-2)
        states = torch.view_as_real(states).flatten(-2)
    through_states = states @ C[:, :, 0].mT if C.shape[2] == 1 else _times(C, states)
    if system.D.ndim == 3:
        return through_states + torch.einsum("hpm,blhm->blhp", system.D, u.to(system.D.dtype))
    return through_states + _times(system.D, u)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (B, L, H, i, j) times vectors (B, L, H, j); one row or column without a product."""
    if matrix.shape[-1] == 1:
        return matrix[..., 0] * vector
    if matrix.shape[-2] == 1:
        return (matrix[..., 0, :] * vector).sum(-1, keepdim=True)
    dtype = torch.promote_types(matrix.dtype, vector.dtype)
    return (matrix.to(dtype) @ vector.to(dtype)[..., None])[..., 0]


def sequential_time_varying_scan(
    system: TimeVaryingDiagonal, u: Tensor, x0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A time-varying system by its definition, one step at a time, in the dtype of its inputs."""
    system = system.expanded()
    state, outputs = initial_state(system, u, x0), []
    D = system.D if system.D.ndim == 5 else system.D.expand(*u.shape[:2], -1, -1, -1)
    matrices = (t.unbind(1) for t in (system.lam, system.B, system.C, D, u))
    for lam, B, C, direct, drive in zip(*matrices, strict=True):
        y = torch.einsum("bhpn,bhn->bhp", C.to(state.dtype), state)
        y = 2 * y.real if system.conjugate else y
        outputs.append(y + torch.einsum("bhpm,bhm->bhp", direct, drive.to(direct.dtype)))
        state = lam * state + torch.einsum("bhnm,bhm->bhn", B.to(state.dtype), drive.to(state))
    return torch.stack(outputs, 1), state


def sequential_linear_scan(a: Tensor, b: Tensor, x0: Tensor | None, *, reverse: bool) -> Tensor:
    """:meth:`ScanBackend.linear_scan` by its definition, one step at a time."""
    state = b.new_zeros(b.shape[0], b.shape[2]) if x0 is None else x0
    factors = a.unbind(1) if a.ndim == 3 else [a] * b.shape[1]
    steps = list(zip(factors, b.unbind(1), strict=True))
    states = []
    for factor, drive in reversed(steps) if reverse else steps:
        state = factor * state + drive
        states.append(state)
    return torch.stack(states[::-1] if reverse else states, 1)


def advance(system: DiscreteSystem, state: Tensor) -> Tensor:
    """A x for states (B, H, N)."""
    if isinstance(system, DiscreteDiagonal):
        return system.lam * state
    return torch.einsum("hij,bhj->bhi", system.to_dense().A.to(state.dtype), state)
