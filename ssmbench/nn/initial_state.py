"""The state of an SSM layer before the first step."""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Float, Inexact
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.scans.base import Scannable
from ssmbench.systems import SampledModes


class InitialState(Enum):
    """The state before the first step: zero, or a parameter that starts at zero."""

    zero = "zero"
    learned = "learned"


def zero_state(system: Scannable) -> nn.Parameter:
    """A parameter with the system's state zero: (H, N), or (H, N, 2) where states are complex.

    Its numbers are real because ``Module.double`` leaves complex parameters unchanged.
    """
    shape = (system.heads, system.states, *([2] if has_complex_states(system) else []))
    device = next(iter(system.tensors().values())).device
    return nn.Parameter(torch.zeros(shape, dtype=system.signal_dtype, device=device))


def state_of(parameter: Float[Tensor, "H N ..."], batch: int) -> Inexact[Tensor, "B H N"]:
    """The state that a parameter of :func:`zero_state` holds, for each of ``batch`` signals."""
    state = torch.view_as_complex(parameter) if parameter.ndim == 3 else parameter
    return state.expand(batch, -1, -1)


def has_complex_states(system: Scannable | SampledModes) -> bool:
    """Whether the system's states are complex."""
    return system.state_dtype.is_complex


def oscillator_state(x: Inexact[Tensor, "B H N"], complex_: bool) -> Inexact[Tensor, "B H K"]:
    """States of oscillators, of two real numbers each, as complex numbers (B, H, N) or as real
    ones (B, H, 2N).

    The systems of one layer need both forms: whether all its oscillators are conjugate pairs may
    change from one training step to the next.
    """
    if complex_ == x.is_complex():
        return x
    if complex_:
        return torch.view_as_complex(x.unflatten(-1, (x.shape[-1] // 2, 2)).contiguous())
    return torch.view_as_real(x).flatten(-2)


def check_state(state: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise a UsageError unless the state is None or of ``shape`` (B, H, N)."""
    if state is None:
        return
    require(
        tuple(state.shape) == shape,
        f"an SSM layer's state must have the shape (batch, heads, states) = {shape}, got "
        f"{tuple(state.shape)}",
    )
