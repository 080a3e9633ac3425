"""Checks of the components of a network, and of the signals that they return, once each.

Each message names the file and the line of the component, what was returned, and what should have
been returned. :mod:`ssmbench.nn.system_contracts` has the checks of systems.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.origins import describe_type, dtype_name, plugin_require, with_article
from ssmbench.registry import Entry
from ssmbench.spec import Reading, TaskSizes
from ssmbench.transforms import values_unknown


class FirstUse:
    """Runs each check of a module once, in the first call in which values are available.

    Nothing is checked while a graph is traced or inside ``torch.func``; the check is then made in
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


# --- modules, after construction ----------------------------------------------------------------


def check_built(entry: Entry, made: Any, base: type) -> None:
    """Check an object that an entry's factory built: it must be an instance of its kind's base
    class; a module must be initialised, with finite parameters of torch's default precision on its
    default device.

    Raises:
        PluginError: it is not; the message names the factory's file and line.
    """
    plugin_require(
        isinstance(made, base),
        entry.factory,
        lambda: (
            f"builds {describe_type(made)}; {with_article(entry.kind)} must derive from "
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
        f"the parameter {name} is {dtype_name(parameter.dtype)}; parameters must be "
        f"{dtype_name(precision)} or {dtype_name(precision.to_complex())}, as the rest of the "
        "network is",
    )
    finite = device.type == "meta" or bool(torch.isfinite(parameter).all())
    plugin_require(finite, module, f"the parameter {name} is not finite right after construction")


# --- maps of signals ----------------------------------------------------------------------------


def check_nonlinearity(module: Nonlinearity, x: Tensor, y: Any) -> None:
    """Check the output of a nonlinearity: a tensor of the shape and device of its input.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    name = "the output (B, L, d_model)"
    check_signal(type(module).forward, name, y, tuple(x.shape), x.device)


def check_norm(module: Norm, x: Tensor, y: Any) -> None:
    """Check the output of a norm: a tensor of the shape and device of its input.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    name = "the output (B, L, d_model)"
    check_signal(type(module).forward, name, y, tuple(x.shape), x.device)


def check_block(module: nn.Module, x: Tensor, y: Any) -> None:
    """Check the output of a block: a tensor of the shape and device of its input.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    name = "the output (B, L, d_model)"
    check_signal(type(module).forward, name, y, tuple(x.shape), x.device)


def check_encoded(module: Encoder, u: Tensor, x: Any, d_model: int | None) -> None:
    """Check the output of an encoder: real features (B, L, d_model) on the input's device.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    forward = type(module).forward
    width = d_model or (x.shape[-1] if isinstance(x, Tensor) and x.ndim else 0)
    check_signal(forward, "features (B, L, d_model)", x, (*u.shape[:2], width), u.device)


def check_decoded(module: Decoder, x: Tensor, y: Any, sizes: TaskSizes | None) -> None:
    """Check the output of a decoder: real predictions (B, L, outputs) or (B, outputs) on the
    features' device.

    Raises:
        PluginError: it is not; the message names ``forward``'s file and line.
    """
    rows, length = x.shape[:2]
    steps = (length,) if module.reads is Reading.steps else ()
    batch = rows // 2 if module.reads is Reading.pair else rows
    outputs = sizes.outputs if sizes else (y.shape[-1] if isinstance(y, Tensor) and y.ndim else 0)
    check_signal(type(module).forward, "the prediction", y, (batch, *steps, outputs), x.device)


def check_signal(
    definition: Any, name: str, value: Any, shape: tuple[int, ...], device: torch.device
) -> None:
    """Raise a PluginError unless ``value`` is a tensor of real numbers as described."""
    is_tensor = isinstance(value, Tensor)
    plugin_require(is_tensor, definition, lambda: f"returns {describe_type(value)}, not a tensor")
    check_tensor(definition, name, value, shape, device)
    real = value.is_floating_point()
    plugin_require(
        real, definition, f"returns {name} in {dtype_name(value.dtype)}; signals are real"
    )


def check_tensor(
    definition: Any, name: str, value: Tensor, shape: tuple[int, ...], device: torch.device
) -> None:
    """Raise a PluginError unless ``value`` has the shape and is on the device."""
    found = tuple(value.shape)
    plugin_require(
        found == shape, definition, f"returns {name} of shape {found}; it must be {shape}"
    )
    plugin_require(
        value.device == device,
        definition,
        f"returns {name} on the device {value.device}, but its input is on {device}",
    )
