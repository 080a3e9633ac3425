"""The delta rule as a differentiable operator, whatever kernels compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.scans.delta import DeltaLayer, delta_layer
from ssmbench.scans.operators import define, differentiate, differentiate_backward, merge

#: Inputs that are differentiated: u, key, query, decay, gates, x0.
_INPUTS = 6
_SYSTEM = "Tensor u, Tensor key, Tensor query, Tensor decay, Tensor gates, Tensor x0"


def define_delta(
    name: str,
    run: Callable[..., Any],
    outputs: Callable[..., Any],
    run_backward: Callable[..., Any],
) -> DeltaLayer:
    """:func:`ssmbench.scans.delta.delta_layer` by the operator ``name``, of its inputs and
    ``keep``: y, the final state, and saved states, empty unless ``keep``.

    ``outputs`` allocates them. ``run_backward`` takes the inputs, the saved states and the
    gradients of y and of the final state, and gives the gradients of the inputs. Saved states may
    be empty then (:func:`saved_states`). Second derivatives are those of the definition; there is
    no forward mode.
    """
    schema = f"{name}({_SYSTEM}, bool keep) -> (Tensor, Tensor, Tensor)"
    layer = define(schema, run, outputs)
    gradients = ", ".join(["Tensor"] * _INPUTS)
    schema = f"{name}_backward({_SYSTEM}, Tensor starts, Tensor dy, Tensor dfinal) -> ({gradients})"
    layer_backward = define(schema, run_backward, _gradients)

    def backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
        return *layer_backward(*saved, *cotangents), None

    differentiate(
        layer, backward, _no_jvp, lambda inputs, found: (*inputs[:_INPUTS], found[2]), [2]
    )
    differentiate_backward(layer_backward, delta_adjoint, _no_jvp)
    _register_vmap(layer, layer_backward)

    def applied(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        y, final, _ = layer(*inputs, keep)
        return y, final

    return applied


def saved_states(run: Callable[..., Any], inputs: Sequence[Tensor], saved: Tensor) -> Tensor:
    """The states that a forward pass saved, or where it saved none, those of another one."""
    return saved if saved.numel() else run(*inputs, keep=True)[2]


def delta_adjoint(*given: Tensor) -> tuple[Tensor, ...]:
    """The gradients, by differentiating the definition; arguments as of the backward operator."""
    *inputs, _, dy, dfinal = given
    _, pull, *_ = torch.func.vjp(delta_layer, *inputs)
    return pull((dy, dfinal))


def _gradients(*given: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in given[:_INPUTS])


def _no_jvp(kept: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    raise UsageError(
        "the delta rule has no derivatives in forward mode (jvp, jacfwd, torch.func.hessian) here: "
        "use reverse mode (vjp, jacrev), or scan 'reference'"
    )


def _register_vmap(layer: Any, layer_backward: Any) -> None:
    """Sequences side by side, without kept states."""

    def mapped(info: Any, dims: tuple, *inputs: Any) -> tuple:
        inputs = (*inputs[:_INPUTS], False)
        return merge(layer, info, dims, inputs, (*[0] * _INPUTS, None), (0, 0, None))

    def mapped_backward(info: Any, dims: tuple, *inputs: Any) -> tuple:
        inputs = (*inputs[:_INPUTS], inputs[0].new_empty(0), *inputs[_INPUTS + 1 :])
        axes = (*[0] * _INPUTS, None, 0, 0)
        return merge(layer_backward, info, dims, inputs, axes, (0,) * _INPUTS)

    torch.library.register_vmap(layer, mapped)
    torch.library.register_vmap(layer_backward, mapped_backward)
