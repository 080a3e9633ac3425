"""Detect PyTorch's function transforms and tracing."""

from __future__ import annotations

import torch
from torch._C._functorch import is_legacy_batchedtensor


def functorch_active() -> bool:
    """Whether the call is inside a ``torch.func`` transform."""
    return torch._C._are_functorch_transforms_active()


def are_batches(*gradients: torch.Tensor) -> bool:
    """Whether gradients are batches of them, of ``torch.autograd.grad(is_grads_batched=True)``."""
    return any(map(is_legacy_batchedtensor, gradients))


def values_unknown() -> bool:
    """Whether Python cannot branch on tensor values, because of tracing or vmap."""
    return torch.compiler.is_compiling() or functorch_active()
