"""Chebyshev descent: its limit of stability, its order, and that it goes where Euler cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev as T

from ssmbench.errors import UsageError

CURVATURE = 4.0  # L, the largest of the quadratic functions below


def descend(plugin, x0, curvatures, *, lr, steps, decay=0.0, **options):
    """Iterates (steps + 1, N) on ``sum(curvatures x^2) / 2``."""
    module = plugin("chebyshev_descent")
    x = torch.nn.Parameter(torch.as_tensor(x0, dtype=torch.float64).clone())
    H = torch.as_tensor(curvatures, dtype=torch.float64)
    groups = [{"params": [x], "lr": lr, "weight_decay": decay}]
    optimizer = module.ChebyshevDescent(module.ChebyshevConfig(**options), groups=groups)

    def closure():
        loss = (H * x.square()).sum() / 2
        optimizer.zero_grad()
        loss.backward()
        return loss

    path = [x.detach().clone()]
    for _ in range(steps):
        optimizer.step(closure)
        path.append(x.detach().clone())
    return torch.stack(path)


def measured_limit(plugin, **options) -> float:
    """Largest step times curvature at which one step does not lengthen x, by bisection."""
    low, high = 1.0, 3.0 * options["stages"] ** 2
    for _ in range(50):
        middle = (low + high) / 2
        (_, after) = descend(plugin, [1.0], [1.0], lr=middle, steps=1, **options)
        low, high = (middle, high) if abs(after.item()) <= 1 + 1e-12 else (low, middle)
    return low


@pytest.mark.parametrize("stages", [1, 2, 5, 10])
def test_undamped_limit_is_two_stages_squared(plugin, stages):
    limit = measured_limit(plugin, stages=stages, damping=0.0)
    assert limit == pytest.approx(2 * stages**2, rel=1e-6)


@pytest.mark.parametrize(("stages", "damping"), [(3, 0.05), (5, 0.05), (10, 1.0)])
def test_damped_limit_is_as_declared(plugin, stages, damping):
    declared = plugin("chebyshev_descent").Chebyshev.of(stages, damping).stability_limit
    assert declared < 2 * stages**2
    assert measured_limit(plugin, stages=stages, damping=damping) == pytest.approx(declared)


@pytest.mark.parametrize(("stages", "damping"), [(2, 0.0), (5, 0.05), (9, 0.5)])
def test_a_step_is_the_shifted_chebyshev_polynomial(plugin, stages, damping):
    """numpy's T_s and its derivative, over the interval of stability."""
    w0 = 1 + damping / stages**2
    unit = np.eye(stages + 1)[stages]
    w1 = T.chebval(w0, unit) / T.chebval(w0, T.chebder(unit))
    z = np.linspace(0, 2 * w0 / w1, 41)
    expected = T.chebval(w0 - w1 * z, unit) / T.chebval(w0, unit)
    options = {"stages": stages, "damping": damping}
    found = descend(plugin, np.ones(41), z, lr=1.0, steps=1, **options)[1]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_damping_contracts_inside_the_interval(plugin):
    module = plugin("chebyshev_descent")
    for damping, largest in ((0.0, 1.0), (0.05, 1 / module.Chebyshev.of(5, 0.05).values[5])):
        w = module.Chebyshev.of(5, damping)
        inside = np.linspace((w.w0 - 1) / w.w1 + 1e-9, (w.w0 + 1) / w.w1, 2001)
        options = {"stages": 5, "damping": damping}
        after = descend(plugin, np.ones(2001), inside, lr=1.0, steps=1, **options)[1]
        assert after.abs().max().item() == pytest.approx(largest, rel=1e-3)


def test_converges_where_gradient_descent_diverges(plugin):
    curvatures = [0.04, 0.3, 1.0, CURVATURE]
    lr = 0.9 * 2 * 5**2 / CURVATURE
    path = descend(plugin, np.ones(4), curvatures, lr=lr, steps=60)
    each_step = 1 / plugin("chebyshev_descent").Chebyshev.of(5, 0.05).values[5]
    assert each_step < 0.96
    assert path[-1].abs().max() <= each_step**60 * (1 + 1e-12)
    euler = descend(plugin, np.ones(4), curvatures, lr=lr, steps=60, stages=1, damping=0.0)
    assert euler[-1].norm() > 1e50, "one undamped stage is gradient descent"


def test_goes_further_than_gradient_descent_for_each_gradient(plugin):
    """On the slow direction, both near their limits, after 100 gradients."""
    curvatures = [0.02, CURVATURE]
    cheap = descend(plugin, np.ones(2), curvatures, lr=1.9 / 4, steps=100, stages=1, damping=0.0)
    far = descend(plugin, np.ones(2), curvatures, lr=0.9 * 200 / 4, steps=10, stages=10)
    assert abs(far[-1, 0]) < abs(cheap[-1, 0]) ** 5


def test_first_order_in_the_step(plugin):
    """The error against exp(-t) at t = 1 halves with the step."""
    errors = [
        abs(descend(plugin, [1.0], [1.0], lr=1 / n, steps=n)[-1].item() - math.exp(-1))
        for n in (64, 128)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_weight_decay_is_a_part_of_the_function(plugin):
    with_decay = descend(plugin, [1.0, 2.0], [0.5, 1.0], lr=2.0, steps=3, decay=0.25)
    in_function = descend(plugin, [1.0, 2.0], [0.75, 1.25], lr=2.0, steps=3)
    torch.testing.assert_close(with_decay, in_function, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("options", "says"), [({"stages": 0}, "at least 1"), ({"damping": -1.0}, "not be negative")]
)
def test_options_out_of_range(plugin, options, says):
    with pytest.raises(UsageError, match=says):
        descend(plugin, [1.0], [1.0], lr=1.0, steps=1, **options)
