"""What the operators over the C kernels share."""

from __future__ import annotations

import torch
from torch import Tensor

VECTOR_BYTES = 64


def lanes(u: Tensor) -> int:
    """Numbers of a vector in the precision of ``u``: channels of the fused layer side by side."""
    return VECTOR_BYTES // u.element_size()


def precision(tensor: Tensor) -> str:
    return "double" if tensor.dtype in (torch.float64, torch.complex128) else "float"


def contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    """As kernels read them. (The dispatcher has carried out conjugations noted down.)"""
    return tuple(x.contiguous() for x in tensors)
