"""Checks of what parametrizations, discretizers, normalisers and scans return, on first use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.contracts import check_tensor
from ssmbench.normalisers.base import Normaliser
from ssmbench.origins import describe_type, dtype_name, plugin_require, with_article
from ssmbench.parametrizations.base import Parametrization
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import (
    DiscreteSystem,
    LinearSystem,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
)

System = LinearSystem | TimeVaryingSystem


def check_system(
    module: Parametrization, system: Any, states: int | None, check_values: bool = True
) -> None:
    """Check the system of a parametrization: of the declared type, with ``states`` states per head
    unless None, on the device of its parameters, with a real output; with ``check_values`` also
    that it is finite if the parameters are.

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
    """An option may count a conjugate pair of modes as one state or as two."""
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
            f"returns {describe_type(system)}, but the class declares "
            f"system_type = {wanted.__name__}{_tuple_hint(system)}"
        ),
    )


def _tuple_hint(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "; build one from its matrices, for example DiscreteDense(A=A, B=B, C=C, D=D)"
    return ""


def _check_device(module: Parametrization, system: System) -> None:
    parameter = next(module.parameters(), None)
    home = None if parameter is None else parameter.device
    for name, tensor in system.tensors().items():
        plugin_require(
            home is None or tensor.device == home,
            type(module).forward,
            lambda name=name, tensor=tensor: (
                f"returns {name} on the device {tensor.device}, but its parameters are on "
                f"{home}; create tensors with device=<parameter>.device"
            ),
        )


def _check_real_output(definition: Any, returns: str, system: System) -> None:
    """The signals of a network are real, so complex modes must be conjugate pairs."""
    plugin_require(
        not _has_complex_output(system),
        definition,
        lambda: (
            f"the layer's output is complex, but must be real: {returns} "
            f"{describe_type(system)} with complex {', '.join(_complex_names(system))}; "
            f"{_remedy(system)}"
        ),
    )


def _complex_names(system: System) -> list[str]:
    return sorted(name for name, tensor in system.tensors().items() if tensor.is_complex())


def _has_complex_output(system: System) -> bool:
    names = _complex_names(system)
    return "D" in names or (bool(names) and not getattr(system, "conjugate", False))


def _remedy(system: System) -> str:
    if "D" in _complex_names(system):
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
    """Check that the heads of a system together have the layer's channels.

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
    """Check the system of a discretizer: discrete, with the same heads, states, inputs and outputs.

    Raises:
        PluginError: it is not; the message names the class's file and line.
    """
    varies = isinstance(before, TimeVaryingSystem)
    wanted = TimeVaryingDiagonal if varies else DiscreteSystem
    plugin_require(
        isinstance(after, wanted),
        type(method),
        lambda: (
            f"discretizes {describe_type(before)} into {describe_type(after)}; it must be "
            f"{with_article(wanted.__name__)}"
        ),
    )
    _check_same_sizes(type(method), before, after)
    _check_real_output(type(method), "it gives", after)


def check_normalised(method: Normaliser, before: DiscreteSystem, after: Any) -> None:
    """Check the system of a normaliser: of the same type, sizes and precision.

    Raises:
        PluginError: it is not; the message names the class's file and line.
    """
    plugin_require(
        type(after) is type(before),
        type(method),
        lambda: (
            f"makes {describe_type(after)} of {describe_type(before)}; a normaliser keeps the type"
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
    """Check the results of a scan: outputs (B, L, H, p) and the final state (B, H, N), on u's
    device, the outputs real unless the system's output is complex.

    Raises:
        PluginError: it is not; the message names ``__call__``'s file and line.
    """
    call = type(scan).__call__
    pair = isinstance(results, tuple) and len(results) == 2
    plugin_require(
        pair and all(isinstance(value, Tensor) for value in results),
        call,
        lambda: f"returns {describe_type(results)}; it must return two tensors, y and x_final",
    )
    y, final = results
    batch, length = u.shape[:2]
    wanted = {
        "y (B, L, H, p)": (y, (batch, length, system.heads, system.outputs)),
        "x_final (B, H, N)": (final, (batch, system.heads, system.states)),
    }
    for name, (value, shape) in wanted.items():
        check_tensor(call, name, value, shape, u.device)
    dtype = torch.promote_types(u.dtype, system.signal_dtype)
    _check_dtype(call, "y", y, dtype.to_complex() if _has_complex_output(system) else dtype)


def _check_dtype(definition: Any, name: str, value: Tensor, wanted: torch.dtype) -> None:
    plugin_require(
        value.dtype == wanted,
        definition,
        f"returns {name} in {dtype_name(value.dtype)}; for these inputs it must be "
        f"{dtype_name(wanted)}",
    )


def _like(tensor: Tensor) -> str:
    return f"{dtype_name(tensor.dtype)} on {tensor.device}"
