"""What a training step asks of its device: seeded generators, and whether the loss is finite."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of ``device``.

    ``torch.manual_seed`` seeds those of all kinds of devices, and makes a traceback for each that
    is not in use: a millisecond in every step.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def waits_for_loss(device: torch.device) -> bool:
    """Whether the loss is checked before the backward pass, which then saves that pass; not on a
    GPU, which is given the backward pass to do meanwhile."""
    return device.type == "cpu"


class FiniteCheck:
    """Whether a number is finite; on a GPU, what is computed after it is not waited for."""

    def __init__(self, number: Shaped[Tensor, ""]):
        self._answer = torch.isfinite(number).to("cpu", non_blocking=True)
        self._known = torch.cuda.Event() if number.device.type == "cuda" else None
        if self._known is not None:
            self._known.record()

    def __bool__(self) -> bool:
        if self._known is not None:
            self._known.synchronize()
        return bool(self._answer)
