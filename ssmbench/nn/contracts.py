"""What the components of a network return, checked on its first use.

Each message names the file and the line of the component's author, what was returned, and what
should have been.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.normalisers.base import Normaliser
from ssmbench.origins import plugin_require
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import (
    DiscreteSystem,
    LinearSystem,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
)
from ssmbench.transforms import values_unknown

System = LinearSystem | TimeVaryingSystem


class FirstUse:
    """Runs each check of a module once, at the first call that has values to look at.

    Nothing is checked while a graph is traced or inside ``torch.func``: the check then waits for
    the next ordinary call.
    """

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def check(self, part: str, check: Callable[..., None], *values: Any) -> None:
        """``check(*values)``, unless ``part`` was checked before.

        Raises:
            PluginError: what the check finds.
        """
        if values_unknown() or part in self._checked:
            return
        check(*values)
        self._checked.add(part)


# --- modules as they are built ------------------------------------------------------------------


def check_built(entry: Entry, made: Any, base: type) -> None:
    """What an entry's factory builds: an instance of its kind's base class; a module initialised,
    with finite parameters of torch's default precision on its default device.

    Raises:
        PluginError: it is not; the message names the factory's file and line.
    """
    plugin_require(
        isinstance(made, base),
        entry.factory,
        lambda: (
            f"builds {_a_kind_of(made)}; a {entry.kind} must derive from "
            f"{base.__module__}.{base.__name__}"
        ),
    )
    if isinstance(made, nn.Module):
        initialised = "_parameters" in vars(made)
        plugin_require(initialised, type(made), "__init__ does not call super().__init__()")
        for name, parameter in made.named_parameters():
            _check_parameter(type(made), name, parameter)


def _check_parameter(module: type[nn.Module], name: str, parameter: Tensor) -> None:
    device, wanted = parameter.device, torch.get_default_device()
    plugin_require(
        device.type == wanted.type,
        module,
        f"the parameter {name} is on the device {device}; create parameters on {wanted}, where the "
        "rest of the network is, and let the trainer move them",
    )
    precision = torch.get_default_dtype()
    plugin_require(
        parameter.dtype in (precision, precision.to_complex()),
        module,
        f"the parameter {name} is {_plain(parameter.dtype)}; parameters must be "
        f"{_plain(precision)} or {_plain(precision.to_complex())}, as the rest of the network is",
    )
    finite = device.type == "meta" or bool(torch.isfinite(parameter).all())
    plugin_require(finite, module, f"the parameter {name} is not finite right after construction")


# --- systems ------------------------------------------------------------------------------------


def check_system(
    module: Parametrization, system: Any, states: int | None, check_values: bool = True
) -> None:
    """What a parametrization returns: a system of the declared type, of ``states`` states in each
    head where that is given, on the device of its parameters, with a real output; finite where
    ``check_values`` and its parameters are.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    _check_type(module, system)
    _check_device(module, system)
    _check_real_output(type(module).forward, "forward returns", system)
    if states is not None:
        _check_states(module, system, states)
    if check_values and all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        _check_finite(module, system)


def _check_states(module: Parametrization, system: System, declared: int) -> None:
    """Options count pairs of conjugate modes as one or as two."""
    counts = {system.states, getattr(system, "order", system.states)}
    plugin_require(
        declared in counts,
        type(module).forward,
        f"returns a system of {' or '.join(map(str, sorted(counts)))} states per head, but its "
        f"config declares d_state={declared}",
    )


def _check_type(module: Parametrization, system: Any) -> None:
    wanted = module.system_type
    plugin_require(
        isinstance(system, wanted),
        type(module).forward,
        lambda: (
            f"returns {_a_kind_of(system)}, but the class declares "
            f"system_type = {wanted.__name__}{_tuple_hint(system)}"
        ),
    )


def _tuple_hint(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "; build one from its matrices, for example DiscreteDense(A=A, B=B, C=C, D=D)"
    return ""


def _check_device(module: Parametrization, system: System) -> None:
    parameter = next(module.parameters(), None)
    for name, tensor in system.tensors().items():
        plugin_require(
            parameter is None or tensor.device == parameter.device,
            type(module).forward,
            lambda name=name, tensor=tensor: (
                f"returns {name} on the device {tensor.device}, but its parameters are on "
                f"{parameter.device}; create tensors with device=<parameter>.device"
            ),
        )


def _check_real_output(definition: Any, returns: str, system: System) -> None:
    """A network's signals are real: complex modes must come as conjugate pairs."""
    plugin_require(
        not _has_complex_output(system),
        definition,
        lambda: (
            f"the layer's output is complex, but must be real: {returns} "
            f"{_a(type(system).__name__)} with complex {', '.join(_complex_names(system))}; "
            f"{_remedy(system)}"
        ),
    )


def _complex_names(system: System) -> list[str]:
    return sorted(name for name, tensor in system.tensors().items() if tensor.is_complex())


def _has_complex_output(system: System) -> bool:
    paired = getattr(system, "conjugate", False)
    return system.D.is_complex() or (bool(_complex_names(system)) and not paired)


def _remedy(system: System) -> str:
    if system.D.is_complex():
        return "D must be real"
    if hasattr(system, "conjugate"):
        return (
            "pass conjugate=True, so that lam, B and C hold one of each conjugate pair and the "
            "output is 2 Re(C x) + D u, or make them real"
        )
    return "make its matrices real"


def _check_finite(module: Parametrization, system: System) -> None:
    for name, tensor in system.tensors().items():
        plugin_require(
            bool(torch.isfinite(tensor).all()),
            type(module).forward,
            f"returns {name} with values that are not finite, for finite parameters",
        )


def check_channels(module: Parametrization, system: System, channels: int) -> None:
    """Whether a system's heads together take and give the layer's channels.

    Raises:
        PluginError: they do not; the message names ``forward``'s file and line.
    """
    for what, width in (("inputs", system.inputs), ("outputs", system.outputs)):
        plugin_require(
            system.heads * width == channels,
            type(module).forward,
            f"returns {system.heads} heads of {width} {what} each; together they must be "
            f"d_model={channels}",
        )


# --- discretizers, normalisers, scans, nonlinearities -------------------------------------------


def check_discretized(method: Discretizer, before: System, after: Any) -> None:
    """What a discretizer returns: a discrete system of the same heads, states, inputs and outputs.

    Raises:
        PluginError: it is not; the message names the class's file and line.
    """
    varies = isinstance(before, TimeVaryingSystem)
    wanted = TimeVaryingDiagonal if varies else DiscreteSystem
    plugin_require(
        isinstance(after, wanted),
        type(method),
        lambda: (
            f"discretizes {_a(type(before).__name__)} into {_a_kind_of(after)}; it must be "
            f"{_a(wanted.__name__)}"
        ),
    )
    _check_same_sizes(type(method), before, after)
    _check_real_output(type(method), "it gives", after)


def check_normalised(method: Normaliser, before: DiscreteSystem, after: Any) -> None:
    """What a normaliser returns: a system of the same type, sizes and precision.

    Raises:
        PluginError: it is not; the message names the class's file and line.
    """
    plugin_require(
        type(after) is type(before),
        type(method),
        lambda: (
            f"makes {_a_kind_of(after)} of {_a(type(before).__name__)}; a normaliser keeps the type"
        ),
    )
    _check_same_sizes(type(method), before, after)
    for name, tensor in before.tensors().items():
        found = getattr(after, name)
        plugin_require(
            (found.dtype, found.device) == (tensor.dtype, tensor.device),
            type(method),
            f"changes {name} from {_like(tensor)} to {_like(found)}; a normaliser keeps both",
        )


def _check_same_sizes(definition: Any, before: System, after: System) -> None:
    for name in ("heads", "order" if isinstance(before, LinearSystem) else "states"):
        _check_same(definition, name, before, after)
    for name in ("inputs", "outputs"):
        _check_same(definition, name, before, after)


def _check_same(definition: Any, name: str, before: System, after: System) -> None:
    words = {"order": "states"}.get(name, name)
    old, new = getattr(before, name), getattr(after, name)
    plugin_require(
        old == new,
        definition,
        f"makes a system of {new} {words} of one of {old}; it keeps them",
    )


def check_scanned(scan: ScanBackend, system: System, u: Tensor, results: Any) -> None:
    """What a scan returns: outputs (B, L, H, p) and the final state (B, H, N), on u's device, the
    outputs real unless the system says otherwise.

    Raises:
        PluginError: it is not; the message names ``__call__``'s file and line.
    """
    call = type(scan).__call__
    pair = isinstance(results, tuple) and len(results) == 2
    plugin_require(
        pair and all(isinstance(value, Tensor) for value in results),
        call,
        lambda: f"returns {_a_kind_of(results)}; it must return two tensors, y and x_final",
    )
    y, final = results
    batch, length = u.shape[:2]
    wanted = {
        "y (B, L, H, p)": (y, (batch, length, system.heads, system.outputs)),
        "x_final (B, H, N)": (final, (batch, system.heads, system.states)),
    }
    for name, (value, shape) in wanted.items():
        _check_tensor(call, name, value, shape, u.device)
    dtype = torch.promote_types(u.dtype, system.D.dtype)
    _check_dtype(call, "y", y, dtype.to_complex() if _has_complex_output(system) else dtype)


def check_nonlinearity(module: Nonlinearity, x: Tensor, y: Any) -> None:
    """What a nonlinearity returns: a tensor of the shape, dtype and device of its input.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    forward = type(module).forward
    plugin_require(
        isinstance(y, Tensor),
        forward,
        lambda: f"returns {_a_kind_of(y)}, not a tensor",
    )
    _check_tensor(forward, "the output (B, L, d_model)", y, tuple(x.shape), x.device)
    plugin_require(
        y.is_floating_point(),
        forward,
        f"returns {_plain(y.dtype)}; signals are real numbers",
    )


def _check_tensor(
    definition: Any,
    name: str,
    value: Tensor,
    shape: tuple[int, ...],
    device: torch.device,
) -> None:
    found = tuple(value.shape)
    plugin_require(
        found == shape,
        definition,
        f"returns {name} of shape {found}; it must be {shape}",
    )
    plugin_require(
        value.device == device,
        definition,
        f"returns {name} on the device {value.device}, but its input is on {device}",
    )


def _check_dtype(definition: Any, name: str, value: Tensor, wanted: torch.dtype) -> None:
    plugin_require(
        value.dtype == wanted,
        definition,
        f"returns {name} in {_plain(value.dtype)}; for these inputs it must be {_plain(wanted)}",
    )


# --- words --------------------------------------------------------------------------------------


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiouAEIOU" else f"a {noun}"


def _a_kind_of(value: Any) -> str:
    """The type of a value, with the package of a type that is not ssmbench's or Python's."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    own = package in ("builtins", "ssmbench") or package.startswith("ssmbench_plugin_")
    return _a(kind.__name__ if own else f"{package}.{kind.__name__}")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _like(tensor: Tensor) -> str:
    return f"{_plain(tensor.dtype)} on {tensor.device}"
