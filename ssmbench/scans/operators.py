"""Scans as PyTorch operators: derivatives of any order, forward mode, ``torch.func``, tracing.

A scan is registered once, with kernels, forward and backward; their shapes, for tracing (a kernel
never sees a fake tensor); what ``vmap`` merges its dimension with; its tangents; and the *adjoint*:
what the backward kernel computes, as a differentiable function of registered operators. The
derivative of the backward operator is that of the adjoint, so derivatives of every order are exact.

``torch.library.register_autograd`` covers neither ``torch.func`` nor forward mode (whose
tangents it drops silently), so the autograd kernel is registered here, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.autograd_function import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.library import Library

from ssmbench.transforms import functorch_active

LIBRARY = Library("ssmbench", "FRAGMENT")

#: ``backward(needs, saved, cotangents)``: gradients of all inputs, None for what has none.
Backward = Callable[[Sequence[bool], tuple, tuple[Tensor, ...]], tuple[Tensor | None, ...]]

#: ``jvp(saved, tangents)``: tangents of the outputs from those of the inputs that are tensors.
Jvp = Callable[[tuple, tuple[Tensor, ...]], tuple[Tensor, ...]]


def define(
    schema: str,
    kernel: Callable[..., Any],
    shapes: Callable[..., Any],
    devices: Sequence[str] = ("CPU", "CUDA"),
    reads_values: bool = False,
) -> Any:
    """A new operator of the namespace ``ssmbench``; ``shapes`` is its kernel for fake tensors.

    ``reads_values``: whether the kernel waits for values on a GPU and chooses by them, so that
    Inductor must leave it out of CUDA graphs.
    """
    name = schema.partition("(")[0]
    tags = (torch.Tag.pt2_compliant_tag, *[torch.Tag.cudagraph_unsafe] * reads_values)
    LIBRARY.define(schema, tags=tags)
    for device in devices:
        LIBRARY.impl(name, kernel, device)
    torch.library.register_fake(f"ssmbench::{name}", shapes, lib=LIBRARY)
    return getattr(torch.ops.ssmbench, name).default


# --- derivatives --------------------------------------------------------------------------------


def differentiate(
    operator: Any,
    backward: Backward,
    jvp: Jvp,
    saved: Callable[[tuple, tuple[Tensor, ...]], tuple],
    constants: Sequence[int] = (),
) -> None:
    """Register derivatives of an operator, in reverse and in forward mode.

    ``saved(inputs, outputs)`` is what ``backward`` and ``jvp`` get; ``constants`` are the outputs
    without a derivative.
    """
    _register(operator, backward, jvp, saved, frozenset(constants))


def differentiate_backward(
    operator: Any, adjoint: Callable[..., tuple[Tensor, ...]], jvp: Jvp
) -> None:
    """Register the derivatives of a backward operator: those of ``adjoint``, of its signature."""

    def backward(needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            rest = iter(tensors)
            return adjoint(*(next(rest) if isinstance(x, Tensor) else x for x in inputs))

        tensors = [x for x in inputs if isinstance(x, Tensor)]
        gradients = iter(torch.func.vjp(of_tensors, *tensors)[1](cotangents))
        return tuple(next(gradients) if isinstance(x, Tensor) else None for x in inputs)

    _register(operator, backward, jvp, lambda inputs, outputs: inputs, frozenset())


class _OneLevel(torch.autograd.Function):
    """Applied at one level of ``torch.func``, to which the dispatcher has routed the call."""

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        record: Any = super(torch.autograd.Function, cls)
        record = record.apply
        if not functorch_active():
            return record(*arguments)
        with enable_single_level_autograd_function():
            return record(*arguments)


def _register(
    operator: Any, backward: Backward, jvp: Callable, saved: Callable, constants: frozenset[int]
) -> None:
    class Recorded(_OneLevel):
        @staticmethod
        def forward(ctx: Any, keys: Any, *inputs: Any) -> Any:
            result = _below(operator, keys, inputs)
            outputs = result if isinstance(result, tuple) else (result,)
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*(outputs[k] for k in constants))
            ctx.outputs = [None if k in constants else _kind(x) for k, x in enumerate(outputs)]
            kept = saved(inputs, outputs)
            ctx.places = [k for k, x in enumerate(kept) if isinstance(x, Tensor)]
            ctx.kept = [None if isinstance(x, Tensor) else x for x in kept]
            tensors = [kept[k] for k in ctx.places]
            ctx.save_for_backward(*tensors)
            if _forward_mode():
                ctx.inputs = [_kind(x) for x in inputs]
                ctx.save_for_forward(*tensors)
            return result

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor | None) -> tuple:
            needs = ctx.needs_input_grad[1:]
            return None, *backward(needs, _kept(ctx), _zeros_for_none(ctx.outputs, cotangents))

        @staticmethod
        def jvp(ctx: Any, _: None, *tangents: Any) -> Any:
            found = iter(_one_down(jvp, _kept(ctx), _zeros_for_none(ctx.inputs, tangents)))
            every = [None if kind is None else next(found) for kind in ctx.outputs]
            return tuple(every) if len(every) > 1 else every[0]

    def kernel(keys: Any, *inputs: Any) -> Any:
        return Recorded.apply(keys, *inputs) if _counts(inputs) else _below(operator, keys, inputs)

    LIBRARY.impl(operator._opname, kernel, "Autograd", with_keyset=True)


def _counts(inputs: tuple) -> bool:
    """Whether derivatives may be asked for."""
    if _forward_mode():
        return True
    return torch.is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in inputs
    )


def _forward_mode() -> bool:
    return functorch_active() or forward_ad._current_level >= 0


def _below(operator: Any, keys: Any, inputs: tuple) -> Any:
    """Run the operator without this level's autograd."""
    keys = keys & torch._C._after_autograd_keyset
    with torch._C._AutoDispatchBelowAutograd():
        if not functorch_active():
            return operator.redispatch(keys, *inputs)
        # the levels below this one differentiate it too
        with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
            return operator.redispatch(keys, *inputs)


def _one_down(jvp: Jvp, kept: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    """Tangents at this level, while the levels below differentiate forward as well."""
    if not functorch_active():
        return jvp(kept, tangents)
    primals = tuple(forward_ad.unpack_dual(x).primal if isinstance(x, Tensor) else x for x in kept)
    with forward_ad._set_fwd_grad_enabled(True):
        return jvp(primals, tangents)


def _kept(ctx: Any) -> tuple:
    kept = list(ctx.kept)
    for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
        kept[place] = tensor
    return tuple(kept)


def _kind(value: Any) -> tuple | None:
    return (value.shape, value.dtype, value.device) if isinstance(value, Tensor) else None


def _zeros_for_none(kinds: list[tuple | None], given: Sequence[Tensor | None]) -> tuple:
    """Tangents or cotangents, one for each entry of ``kinds`` that is a tensor's."""
    pairs = zip(kinds, given, strict=True)
    return tuple(_zero_for_none(kind, tangent) for kind, tangent in pairs if kind is not None)


def _zero_for_none(kind: tuple, tangent: Tensor | None) -> Tensor:
    if tangent is not None:
        return tangent
    shape, dtype, device = kind
    return torch.zeros(shape, dtype=dtype, device=device)


# --- vmap ---------------------------------------------------------------------------------------

#: For each input (or output) of an operator, the dimension that vmap's is merged with; None for an
#: input that must not be mapped.
Axes = Sequence[int | None]


def merge(
    operator: Any, info: Any, mapped: tuple, inputs: tuple, axes: Axes, to: Axes
) -> tuple[Any, Any]:
    """A rule for vmap: one call, with the mapped dimension merged into others.

    ``axes`` of the inputs, ``to`` of the outputs; None there for outputs that are not mapped.
    """
    size = info.batch_size
    given = zip(inputs, mapped, axes, strict=True)
    result = operator(*(_merged(x, dim, size, axis) for x, dim, axis in given))
    if isinstance(result, Tensor):
        return _split(result, size, to[0]), to[0]
    return tuple(_split(x, size, axis) for x, axis in zip(result, to, strict=True)), tuple(to)


def one_by_one(operator: Any, info: Any, mapped: tuple, inputs: tuple) -> tuple[Any, Any]:
    """A rule for vmap: a call for each element."""
    pairs = list(zip(inputs, mapped, strict=True))
    calls = [
        operator(*(x if dim is None else x.select(dim, k) for x, dim in pairs))
        for k in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(values) for values in zip(*calls, strict=True))
    return stacked, (0,) * len(stacked)


def _merged(value: Any, dim: int | None, size: int, axis: int | None) -> Any:
    if not isinstance(value, Tensor) or axis is None:
        return value
    if dim is None:
        shape = (*value.shape[:axis], size, *value.shape[axis:])
        return value.unsqueeze(axis).expand(shape).flatten(axis, axis + 1)
    return value.movedim(dim, axis).flatten(axis, axis + 1)


def _split(value: Tensor, size: int, axis: int | None) -> Tensor:
    return value if axis is None else value.unflatten(axis, (size, value.shape[axis] // size))
