"""What the operators over the C kernels share."""

from __future__ import annotations

import torch
from torch import Tensor

VECTOR_BYTES = 64


def lanes(u: Tensor) -> int:
    """Numbers in a vector in the precision of ``u``: channels that the fused layer runs at once."""
    return VECTOR_BYTES // u.element_size()


def precision(tensor: Tensor) -> str:
    return "double" if tensor.dtype in (torch.float64, torch.complex128) else "float"


def contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Contiguous, as kernels need them. (The dispatcher has resolved lazy conjugation.)"""
    return tuple(x.contiguous() for x in tensors)
