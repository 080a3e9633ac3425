"""Sampled, scanned and read: a differentiable operator, whatever kernels compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssmbench.scans import selective as definition
from ssmbench.scans.operators import define, differentiate, differentiate_backward
from ssmbench.scans.selective import Form, SelectiveLayer

#: Tensors among the inputs: u, dt, lam, B, C, D, x0; then the numbers of the form.
TENSORS, NUMBERS = 7, 5
_INPUTS = (
    "Tensor u, Tensor? dt, Tensor lam, Tensor B, Tensor C, Tensor D, Tensor? x0, "
    "int rule, float alpha, float c, bool euler, bool after"
)


def define_selective(
    name: str,
    run: Callable[..., Any],
    outputs: Callable[..., Any],
    run_backward: Callable[..., Any],
) -> SelectiveLayer:
    """:func:`ssmbench.scans.selective.selective_layer` by the operator ``name``, of its tensors,
    the numbers of the form, and ``keep``: y, the final state, and saved states, empty unless
    ``keep``.

    ``outputs`` allocates them. ``run_backward`` takes the tensors and numbers, the saved states and
    the gradients of y and of the final state, and gives the gradients of the tensors, empty for a
    dt that is None. Saved states may be empty then. Second derivatives are those of the definition;
    there is neither forward mode nor vmap (:func:`ssmbench.scans.selective.suits`).
    """
    schema = f"{name}({_INPUTS}, bool keep) -> (Tensor, Tensor, Tensor)"
    layer = define(schema, run, outputs)
    gradients = ", ".join(["Tensor"] * TENSORS)
    schema = f"{name}_backward({_INPUTS}, Tensor starts, Tensor dy, Tensor dfinal) -> ({gradients})"
    layer_backward = define(schema, run_backward, _gradients)

    def backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
        found = list(layer_backward(*saved, *cotangents))
        for place in (1, TENSORS - 1):
            found[place] = None if saved[place] is None else found[place]
        return *found, *[None] * (NUMBERS + 1)

    differentiate(layer, backward, _no_jvp, lambda given, found: (*given[:-1], found[2]), [2])
    differentiate_backward(layer_backward, selective_adjoint, _no_jvp)

    def applied(*given: Any) -> tuple[Tensor, Tensor]:
        *inputs, form = given
        keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
        y, final, _ = layer(*inputs, *form.numbers, keep)
        return y, final

    return applied


def by_definition(*inputs: Any) -> tuple[Tensor, Tensor]:
    """The layer of the tensors and numbers, by separate operations."""
    u, dt, lam, B, C, D, x0, *numbers = inputs
    return definition.selective_layer(u, dt, lam, B, C, D, x0, Form.from_numbers(*numbers))


def selective_adjoint(*given: Any) -> tuple[Tensor, ...]:
    """The gradients, by differentiating the definition; arguments as of the backward operator."""
    tensors, numbers = given[:TENSORS], given[TENSORS : TENSORS + NUMBERS]
    u, dt, *middle, x0 = tensors
    start = u.new_zeros(given[-1].shape) if x0 is None else x0
    present = (u, *(() if dt is None else (dt,)), *middle, start)

    def of_present(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        u, *rest = tensors
        return by_definition(u, *(rest if dt is not None else (None, *rest)), *numbers)

    found = torch.func.vjp(of_present, *present)[1](tuple(given[-2:]))
    return found if dt is not None else (found[0], u.new_empty(0), *found[1:])


def _gradients(*given: Any) -> tuple[Tensor, ...]:
    u, dt, *middle, _ = given[:TENSORS]
    ddt = u.new_empty(0) if dt is None else dt.new_empty(dt.shape)
    tables = (x.new_empty(x.shape) for x in middle)
    return u.new_empty(u.shape), ddt, *tables, given[-1].new_empty(given[-1].shape)


def _no_jvp(kept: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    raise AssertionError("suits() keeps forward mode from the operator")
