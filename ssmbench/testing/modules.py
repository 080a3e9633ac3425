"""Helpers of the conformance checks: random parameters, gradients, sums."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor


def randomise(module: torch.nn.Module, scale: float) -> None:
    """Draw every parameter from a normal distribution of the given scale."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)


def gradient_of(leaf: Tensor) -> Tensor:
    """The gradient that ``backward`` left in ``leaf``.

    Raises:
        AssertionError: there is none.
    """
    assert leaf.grad is not None, "there is no gradient"
    return leaf.grad


def total(scalars: Iterable[Tensor]) -> Tensor:
    """The sum of one or more tensors of shape ()."""
    return functools.reduce(torch.add, scalars)


def check_parameter_gradients(module: torch.nn.Module) -> None:
    """Raise an AssertionError unless every parameter has a finite gradient."""
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"nothing depends on the parameter {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"
