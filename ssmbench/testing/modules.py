"""What the conformance kit does to modules of every kind: random parameters, gradients."""

from __future__ import annotations

import torch


def randomise(module: torch.nn.Module, scale: float) -> None:
    """Draw every parameter from a normal distribution of the given scale."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)


def check_parameter_gradients(module: torch.nn.Module) -> None:
    """Raise an AssertionError unless every parameter has a finite gradient."""
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"nothing depends on the parameter {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"
