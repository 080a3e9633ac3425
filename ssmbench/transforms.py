"""Detect PyTorch's function transforms and tracing, and put off checks that wait for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch._C._functorch import is_legacy_batchedtensor

_deferred: ContextVar[bool] = ContextVar("checks_deferred", default=False)


def functorch_active() -> bool:
    """Whether the call is inside a ``torch.func`` transform."""
    return torch._C._are_functorch_transforms_active()


def are_batches(*gradients: torch.Tensor) -> bool:
    """Whether gradients are batches of them, of ``torch.autograd.grad(is_grads_batched=True)``."""
    return any(map(is_legacy_batchedtensor, gradients))


def values_unknown() -> bool:
    """Whether Python cannot branch on tensor values, because of tracing or vmap."""
    return torch.compiler.is_compiling() or functorch_active()


def checks_deferred() -> bool:
    """Whether a check of values is not made where they are computed, which would wait for the
    device: in traced graphs, and within :func:`defer_checks`. What fails is then NaN."""
    return torch.compiler.is_compiling() or _deferred.get()


def values_deferred(tensor: torch.Tensor) -> bool:
    """As :func:`checks_deferred`, for the values of a tensor of a batch, which are read at once on
    the CPU."""
    return torch.compiler.is_compiling() or (_deferred.get() and not _is_read_at_once(tensor))


def _is_read_at_once(tensor: torch.Tensor) -> bool:
    return tensor.is_cpu


@contextmanager
def defer_checks() -> Iterator[None]:
    """Within: factorizations that fail give NaN instead of an error, and lengths and time steps
    that are not on the CPU are taken as they are. For steps of a training, which checks that its
    loss is finite, and whose batches are made by its task.

    >>> from ssmbench.linalg.factorizations import cholesky
    >>> with defer_checks():
    ...     cholesky(-torch.eye(1))
    tensor([[nan]])
    """
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)
