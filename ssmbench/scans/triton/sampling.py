"""Diagonal systems sampled by the kernels of ``sampling_kernel``, of single precision on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmbench.scans.triton.blocks import launch_options
from ssmbench.scans.triton.launch import kernel_view
from ssmbench.systems import ElementwiseRule, Rule

Numbers = tuple[int, float, float]
#: Modes and inputs of a tile, of systems of one input and of several.
BLOCKS = ((64, 1), (16, 8))


def constants(numbers: Numbers, inputs: int) -> dict[str, float]:
    """The kernels' compile-time parameters.

    The places of a stage are among them, since a number that is an argument is of float32.
    """
    rule, alpha, c = numbers
    alpha, c = (0.5, 0.0) if rule == Rule.tustin.value else (alpha, c)
    states, columns = BLOCKS[inputs > 1]
    places = {"RULE": rule, "ALPHA": float(alpha), "HOLD": float(c)}
    return {**places, "BLOCK_N": states, "BLOCK_M": columns}


def has_outputs(numbers: Numbers) -> bool:
    """Whether k and f are computed."""
    rule, alpha, c = numbers
    return not ElementwiseRule(Rule(rule), alpha, c).keeps_outputs


def options() -> dict[str, int | bool]:
    """The compiler's options."""
    return launch_options(2, 1, 255)


def sample_modes(given: tuple[Tensor, ...], numbers: Numbers, results: tuple[Tensor, ...]) -> None:
    """Fill a, b, k, f and scale from lam, B and dt."""
    _launch("sample_modes_kernel", given, numbers, results)


def sample_modes_backward(
    given: tuple[Tensor, ...], numbers: Numbers, results: tuple[Tensor, ...]
) -> None:
    """Fill the gradients of lam, B and dt from lam, B, dt, scale, and those of a, b, k and f."""
    _launch("sample_modes_backward_kernel", given, numbers, results)


def _kernels() -> Any:
    """The module that needs Triton, imported once something is to be run."""
    from ssmbench.scans.triton import sampling_kernel

    return sampling_kernel


def _launch(
    name: str, given: tuple[Tensor, ...], numbers: Numbers, results: tuple[Tensor, ...]
) -> None:
    heads, states, inputs = given[1].shape
    with torch.cuda.device_of(given[0]):
        getattr(_kernels(), name)[(heads,)](
            *map(kernel_view, (*given, *results)),
            *(states, inputs),
            **constants(numbers, inputs),
            OUTPUTS=has_outputs(numbers),
            **options(),
        )
