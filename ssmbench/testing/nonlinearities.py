"""Conformance checks of nonlinearities: shape and the declared Lipschitz constant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench.nn.contracts import check_built, check_nonlinearity
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.testing.modules import check_parameter_gradients, gradient_of, randomise
from ssmbench.testing.report import NotApplicable, Subject, skip_unless
from ssmbench.testing.shifted import check_shifted


def builds(subject: Subject) -> None:
    """It can be built, with finite parameters of torch's default dtype."""
    check_built(subject.entry, subject.build(d_model=4), Nonlinearity)


def keeps_shape_and_precision(subject: Subject) -> None:
    """The output has the shape and the dtype of the input."""
    x = torch.randn(3, 5, 4)
    for dtype in (torch.float32, torch.float64):
        module = subject.build(d_model=4).to(dtype)
        y = module(x.to(dtype))
        check_nonlinearity(module, x.to(dtype), y)
        assert y.dtype == dtype, f"the output is {y.dtype} for an input in {dtype}"


def every_gradient_is_finite(subject: Subject) -> None:
    """The output depends on the input and on every parameter, with finite gradients."""
    module, x = subject.build(d_model=4), torch.randn(3, 5, 4, requires_grad=True)
    module(x).square().sum().backward()
    assert torch.isfinite(gradient_of(x)).all(), "the gradient of the input is not finite"
    check_parameter_gradients(module)


def steps_are_independent(subject: Subject) -> None:
    """The output at a step depends on the input at that step only."""
    module, x = subject.build(d_model=4).double(), torch.randn(3, 5, 4, dtype=torch.float64)
    alone = torch.cat([module(x[:, k : k + 1]) for k in range(5)], 1)
    assert torch.allclose(module(x), alone, rtol=1e-9), (
        "the output at a step depends on other steps"
    )


def lipschitz_constant_as_declared(subject: Subject) -> None:
    """Difference quotients do not exceed the declared constant; where there is none, the reason is
    given.
    """
    module = subject.build(d_model=4).double()
    bound = module.bound()
    if not bound.finite:
        assert bound.reason, "declares no Lipschitz constant and gives no reason"
        raise NotApplicable(f"declares no Lipschitz constant: {bound.reason}")
    slope = _largest_slope(module)
    assert slope <= bound.value * (1 + 1e-9), f"declares {bound.value}, but has a slope of {slope}"


def maps_zero_to_zero_as_declared(subject: Subject) -> None:
    """Where it is declared that zero is mapped to zero, it is for random parameters."""
    module = subject.build(d_model=4)
    skip_unless(module.maps_zero_to_zero, "does not declare that zero is mapped to zero")
    randomise(module, 1.0)
    assert not module(torch.zeros(1, 3, 4)).any(), "does not map zero to zero, as it declares"


def differences_as_its_slopes_say(subject: Subject) -> None:
    """Differences, near and far, stay within the slopes that its shifted form declares."""
    module = subject.build(d_model=4).double()
    if not module.bound().finite:
        raise NotApplicable("declares no Lipschitz constant")
    if module.slopes is None and type(module).shifted is Nonlinearity.shifted:
        raise NotApplicable("declares a Lipschitz constant and no slopes")
    form = module.shifted(4)
    assert form is not None, "has a bound, but no shifted form"
    for size in (1e-3, 1.0, 30.0):
        x, direction = 2 * torch.randn(2, 400, 4, dtype=torch.float64)
        step = size * direction
        check_shifted(form, step, module((x + step)[None])[0] - module(x[None])[0])


CHECKS = (
    builds,
    keeps_shape_and_precision,
    every_gradient_is_finite,
    steps_are_independent,
    lipschitz_constant_as_declared,
    maps_zero_to_zero_as_declared,
    differences_as_its_slopes_say,
)


def _largest_slope(module: Callable[[Tensor], Tensor]) -> float:
    """The largest central difference quotient on a grid, along the first axis."""
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    points = torch.cat([grid * torch.ones(1, 4), grid * direction]).requires_grad_()
    steps = torch.eye(4, dtype=torch.float64)[0] * 1e-6
    change = module((points + steps)[None]) - module((points - steps)[None])
    return (change.norm(dim=-1) / 2e-6).max().item()
