"""What the operators over the C kernels share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

VECTOR_BYTES = 64


def lanes(u: Tensor) -> int:
    """Numbers of a vector in the precision of ``u``: channels of the fused layer side by side."""
    return VECTOR_BYTES // u.element_size()


def precision(tensor: Tensor) -> str:
    return "double" if tensor.dtype in (torch.float64, torch.complex128) else "float"


def plain(tensor: Tensor) -> Tensor:
    """As a kernel reads it: contiguous, no conjugation or negation that is only noted down."""
    return tensor.resolve_conj().resolve_neg().contiguous()


def plain_inputs(*inputs: Any) -> tuple:
    return tuple(plain(x) if isinstance(x, Tensor) else x for x in inputs)
