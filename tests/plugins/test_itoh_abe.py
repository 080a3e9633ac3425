"""The Itoh-Abe method: over-relaxation on quadratics, and descent at every step size."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.errors import UsageError


def start(plugin, parameters, rates, **options):
    module = plugin("itoh_abe")
    groups = [
        {"params": [p], "lr": h, "weight_decay": options.pop("decay", 0.0)}
        for p, h in zip(parameters, rates, strict=True)
    ]
    return module.ItohAbe(module.ItohAbeConfig(**options), groups=groups)


def closure_of(optimizer, function):
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = function()
        loss.backward()
        return loss

    closure.calls = calls
    return closure


# --- quadratics ---------------------------------------------------------------------------------


def problem(n=6, seed=0):
    """A symmetric positive definite, b, x0; float64."""
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((n, n))
    return M @ M.T + np.eye(n), rng.standard_normal(n), rng.standard_normal(n)


def over_relaxation(A, b, x, omega):
    """One sweep, written down from the definition (Young 1950)."""
    x = x.copy()
    for i in range(len(b)):
        others = A[i] @ x - A[i, i] * x[i]
        x[i] = (1 - omega) * x[i] + omega * (b[i] - others) / A[i, i]
    return x


@pytest.mark.parametrize("omega", [0.5, 1.0, 1.5, 1.9])
def test_a_step_is_a_sweep_of_over_relaxation(plugin, omega):
    A, b, expected = problem()
    x = [torch.nn.Parameter(torch.tensor(v)) for v in expected]
    h = 2 * omega / (2 - omega)
    optimizer = start(plugin, x, h / np.diag(A), tolerance=1e-10)
    At, bt = torch.from_numpy(A), torch.from_numpy(b)

    def function():
        v = torch.stack(x)
        return v @ At @ v / 2 - bt @ v

    closure = closure_of(optimizer, function)
    for _ in range(5):
        optimizer.step(closure)
        expected = over_relaxation(A, b, expected, omega)
        found = torch.stack(x).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert len(closure.calls) <= 3 * 6 * 5, "the second trial is exact, once the first is in reach"


def test_weight_decay_is_a_part_of_the_function(plugin):
    paths = []
    for curvature, decay in ((1.0, 0.5), (1.5, 0.0)):
        x = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = start(plugin, [x], [0.7], decay=decay)
        closure = closure_of(optimizer, lambda x=x, c=curvature: c * x.square().sum() / 2)
        for _ in range(3):
            optimizer.step(closure)
        paths.append(x.detach())
    torch.testing.assert_close(*paths, rtol=1e-12, atol=0)


# --- dissipation --------------------------------------------------------------------------------


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def double_well(x):
    return (x.square() - 1).square().sum() + 0.5 * x[0] * x[1]


def wavy(x):
    return x.square().sum() / 10 + torch.cos(3 * x).sum() + torch.sin(x[0] * x[1])


@settings(max_examples=40, deadline=None)
@given(
    function=st.sampled_from([rosenbrock, double_well, wavy]),
    h=st.floats(-3, 6).map(lambda e: 10.0**e),
    x0=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    evaluations=st.integers(2, 12),
)
def test_every_step_lowers_any_function(plugin, function, h, x0, evaluations):
    """However few evaluations: f falls by d^2 / h, a tolerance of the solve below that or more."""
    x = torch.nn.Parameter(torch.tensor(x0, dtype=torch.float64))
    optimizer = start(plugin, [x], [h], evaluations=evaluations, tolerance=1e-9)
    closure = closure_of(optimizer, lambda: function(x))
    for _ in range(4):
        before, value = x.detach().clone(), function(x).item()
        assert optimizer.step(closure) == value
        slack = 1e-6 * (1 + abs(value))
        promised = (x.detach() - before).square().sum().item() / h
        assert function(x).item() <= value - promised + slack
        assert function(x).item() <= value


def test_gradient_descent_climbs_where_it_falls(plugin):
    h, x0 = 0.1, [-1.2, 1.0]
    x = torch.nn.Parameter(torch.tensor(x0, dtype=torch.float64))
    rosenbrock(x).backward()
    assert rosenbrock(x.detach() - h * x.grad) > 100 * rosenbrock(x.detach())
    optimizer = start(plugin, [x], [h])
    closure = closure_of(optimizer, lambda: rosenbrock(x))
    values = [optimizer.step(closure) for _ in range(200)]
    assert all(b <= a for a, b in itertools.pairwise(values))
    assert values[-1] < 1e-8


def test_solves_the_discrete_gradient_equation(plugin):
    """On cosh, whose residual is not linear; a plain bisection is the oracle."""
    h, x0 = 2.0, 1.5

    def residual(d):
        change = math.cosh(x0 + d) - math.cosh(x0)
        return d / h + change / d, change

    low, high = -10.0, -1e-6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if residual(middle)[0] > 0 else (middle, high)
    for first in (-0.01, -0.5, -20.0):
        d = plugin("itoh_abe").solve(residual, math.sinh(x0), first, 1e-12, 60)
        assert d == pytest.approx(low, rel=1e-10)


def test_trials_that_overflow_are_too_far(plugin):
    def residual(d):
        change = math.inf if d < -1 else d + d * d / 2
        return d + change / d, change

    assert plugin("itoh_abe").solve(residual, 1.0, -50.0, 1e-12, 60) == pytest.approx(-2 / 3)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tolerance": 0.0}, "positive tolerance"),
        ({"evaluations": 1}, "at least 2"),
        ({"max_parameters": 2}, "3 parameters: must be at most 2"),
    ],
)
def test_options_out_of_range(plugin, options, says):
    with pytest.raises(UsageError, match=says):
        start(plugin, [torch.nn.Parameter(torch.zeros(3))], [1.0], **options)
