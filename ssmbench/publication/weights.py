"""The weights of a network as a safetensors file, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from ssmbench.errors import UsageError, one_line, require
from ssmbench.publication.layout import MAX_WEIGHTS, read_bytes


def to_safetensors(weights: Mapping[str, Tensor]) -> bytes:
    """The content of a file with these weights, in the precision in which they were trained.

    Parameters that share their memory are stored once under each of their names, which the format
    cannot do otherwise.

    Raises:
        UsageError: something among them is not a tensor.
    """
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    require(not other, f"weights: {', '.join(other)}: not a tensor, so it cannot be published")
    own = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    return save(own, {"format": "pt"})


def read_weights(file: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file that somebody else wrote; nothing in it is executed.

    Raises:
        UsageError: it is not such a file.
    """
    content = read_bytes(file, MAX_WEIGHTS)
    try:
        return load(content)
    except Exception as error:  # of many types, depending on where the damage is
        raise UsageError(f"{file.name}: not safetensors: {one_line(error)}") from None


def values_digest(weights: Mapping[str, Tensor]) -> str:
    """What identifies weights whatever their names, their precision, and the order of the numbers
    in each array: two networks that were trained apart never have it in common."""
    digests = sorted(_sorted_digest(value) for value in weights.values())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _sorted_digest(value: Tensor) -> str:
    real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    numbers = real.flatten().to(torch.float32).sort().values + 0.0  # no negative zero
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()
