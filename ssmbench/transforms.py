"""What PyTorch's function transforms and tracing allow."""

from __future__ import annotations

import torch


def functorch_active() -> bool:
    """Whether this runs inside a transform of ``torch.func``."""
    return torch._C._are_functorch_transforms_active()


def values_unknown() -> bool:
    """Whether tensors may have no values that Python could branch on: traced, or under vmap."""
    return torch.compiler.is_compiling() or functorch_active()
