"""Low rank: what integrators that never invert S can do, what none can, and training."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.errors import UsageError

N = 6


@pytest.fixture(scope="module")
def low_rank(plugin):
    return plugin("low_rank")


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Moving:
    """A(t) = exp(t W1) diag(sigma(t)) exp(t W2)', W1 and W2 skew; and dA/dt."""

    def __init__(self, sigma, rate):
        generator = torch.Generator().manual_seed(0)
        W = torch.randn(2, N, N, generator=generator)
        self.left, self.right = (W - W.mT) / 2
        self.sigma, self.rate = sigma, rate

    def _between(self, t, values):
        Q, P = torch.matrix_exp(t * self.left), torch.matrix_exp(t * self.right)
        return Q @ torch.diag(torch.as_tensor(values)) @ P.T

    def at(self, t):
        return self._between(t, self.sigma(t))

    def velocity(self, t):
        A = self.at(t)
        return self.left @ A + A @ self.right.T + self._between(t, self.rate(t))


class Crossing:
    """The talk's example: diag(e^-t, e^t), whose singular values cross at t = 0."""

    def at(self, t):
        return torch.diag(torch.tensor([math.exp(-t), math.exp(t)]))

    def velocity(self, t):
        return torch.diag(torch.tensor([-math.exp(-t), math.exp(t)]))


def follow(low_rank, how, moving, times, rank=None, start=None):
    """Y at the end, and ``||Y - A||`` and ``||X - A||``, X the best of that rank, after each step.

    Errors of a Y that is not finite are infinite.
    """
    Y = start or low_rank.best(moving.at(times[0].item()), rank)
    errors = []
    for t, later in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        A = moving.at(later)
        if how == "naive":
            Y = low_rank.naive_step(Y, moving.velocity, t, later - t)
        else:
            step = {"split": low_rank.split_step, "bug": low_rank.bug_step}[how]
            Y = step(Y, A - moving.at(t))
        found = (Y.matrix - A).norm().nan_to_num(nan=math.inf)
        errors.append((found, (low_rank.best(A, len(Y.S)).matrix - A).norm()))
    return Y, torch.tensor(errors)


def grid(start, end, steps):
    return torch.linspace(start, end, steps + 1)


# --- integrators --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [100, 401])
def test_a_singular_value_through_zero(low_rank, steps):
    """Rank 2, and rank 1 at t = 0: the naive equations blow up there, however small the step."""
    moving = Moving(lambda t: [1.0, t] + [0.0] * (N - 2), lambda t: [0.0, 1.0] + [0.0] * (N - 2))
    times = grid(-1, 1, steps)
    _, naive = follow(low_rank, "naive", moving, times, rank=2)
    assert naive[: steps // 4, 0].max() < 1e-4, "precondition: well before t = 0 it is accurate"
    assert naive[steps // 2 :, 0].max() > 1e6
    for how in ("split", "bug"):
        _, errors = follow(low_rank, how, moving, times, rank=2)
        assert errors[:, 0].max() < 1e-12, f"{how} is exact on matrices of its rank"


@pytest.mark.parametrize("steps", [50, 200])
def test_small_singular_values(low_rank, steps):
    """sigma_4 = 1e-6 sigma_1: naive steps of any sensible size fail, the others near the best."""
    sigma = 10.0 ** -torch.arange(0, 2 * N, 2)
    moving = Moving(lambda t: math.exp(t) * sigma, lambda t: math.exp(t) * sigma)
    _, naive = follow(low_rank, "naive", moving, grid(0, 1, steps), rank=4)
    assert naive[-1, 0] > 1
    for how in ("split", "bug"):
        _, errors = follow(low_rank, how, moving, grid(0, 1, steps), rank=4)
        assert errors[-1, 1] < errors[-1, 0] < 1.5 * errors[-1, 1]
    well, _ = follow(low_rank, "naive", moving, grid(0, 1, steps), rank=2)
    split, errors = follow(low_rank, "split", moving, grid(0, 1, steps), rank=2)
    apart = (well.matrix - split.matrix).norm()
    assert apart < 0.1 * errors[-1, 0], "precondition: with sigma_2 = 1e-2 alone it does as well"


@pytest.mark.parametrize("how", ["naive", "split", "bug"])
def test_bases_stay_orthonormal_and_the_error_goes_down_with_the_step(low_rank, how):
    sigma = torch.tensor([2.0, 1.0, 0.1, 0.05, 0.0, 0.0])
    moving = Moving(lambda t: math.exp(t) * sigma, lambda t: math.exp(t) * sigma)
    fine, _ = follow(low_rank, how, moving, grid(0, 0.5, 400), rank=2)
    errors = []
    for steps in (10, 20):
        Y, _ = follow(low_rank, how, moving, grid(0, 0.5, steps), rank=2)
        errors.append((Y.matrix - fine.matrix).norm().item())
        tolerance = 1e-3 if how == "naive" else 1e-13
        for basis in (Y.U, Y.V):
            assert (basis.T @ basis - torch.eye(2)).norm() < tolerance
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("how", ["naive", "split", "bug"])
def test_a_crossing_with_what_was_cut_off_is_seen_by_no_integrator(low_rank, how):
    """Y(t) = diag(e^-t, 0) solves the projected equation for ever: the loss is the equation's."""
    Y, errors = follow(low_rank, how, Crossing(), grid(-1, 1, 200), rank=1)
    torch.testing.assert_close(Y.matrix, torch.diag(torch.tensor([math.exp(-1), 0.0])))
    assert errors[-1, 0] == pytest.approx(math.exp(1), rel=1e-9)
    assert errors[-1, 1] == pytest.approx(math.exp(-1), rel=1e-9)
    assert errors[:100].diff(dim=1).abs().max() < 1e-8, "up to t = 0 it was the best"


def test_rank_two_has_no_crossing_to_miss(low_rank):
    _, errors = follow(low_rank, "split", Crossing(), grid(-1, 1, 200), rank=2)
    assert errors.max() < 1e-13


# --- training -----------------------------------------------------------------------------------


def descend(low_rank, target, sigma, steps, factory):
    """Losses while ``||U S V' - target||^2 / 2`` is lowered from a start with given sigma."""
    module = low_rank.LowRank(*target.shape, len(sigma), 1.0)
    with torch.no_grad():
        module.S.copy_(torch.diag(torch.tensor(sigma)))
    optimizer = factory(module)

    def closure():
        loss = (module() - target).square().sum() / 2
        optimizer.zero_grad()
        loss.backward()
        return loss

    losses = [float(torch.as_tensor(optimizer.step(closure)).detach()) for _ in range(steps)]
    return module, losses


def bug(low_rank, lr=1.0, decay=0.0):
    def factory(module):
        groups = [{"params": list(module.parameters()), "lr": lr, "weight_decay": decay}]
        return low_rank.LowRankDescent(low_rank.LowRankDescentConfig(), groups=groups)

    return factory


def test_a_step_of_descent_is_a_bug_step_along_the_gradient(low_rank):
    """The core sees the gradient anew, in the new bases, which is what BUG does with F(Y)."""
    target, sigma, lr, decay = torch.randn(5, 4), [2.0, 0.3], 0.3, 0.1
    seen = {}

    def factory(module):
        seen["start"] = module.factors()
        return bug(low_rank, lr, decay)(module)

    module, _ = descend(low_rank, target, sigma, 1, factory)
    Y = seen["start"]

    def change(matrix):
        return -lr * (matrix - target + decay * matrix)

    bases = low_rank.bug_step(Y, change(Y.matrix))
    project = lambda M: bases.U @ bases.U.T @ M @ bases.V @ bases.V.T  # noqa: E731
    projected = project(Y.matrix)
    torch.testing.assert_close(module(), projected + project(change(projected)))


@pytest.mark.parametrize("sigma", [[1.0, 1.0, 1.0], [1.0, 1e-4, 1e-8], [1.0, 0.0, 0.0]])
def test_small_and_vanishing_singular_values_do_not_stop_descent(low_rank, sigma):
    target = low_rank.best(torch.randn(8, 6), 3).matrix
    module, losses = descend(low_rank, target, sigma, 12, bug(low_rank))
    assert losses[-1] < 1e-12 * losses[0]
    for basis in (module.U, module.V):
        torch.testing.assert_close(basis.T @ basis, torch.eye(3))


def test_reaches_the_best_approximation_of_a_full_matrix(low_rank):
    target = torch.linalg.qr(torch.randn(6, 6)).Q @ torch.diag(torch.tensor([3, 2, 1, 0.2, 0.1, 0]))
    module, _ = descend(low_rank, target, [0.1, 0.1, 0.1], 60, bug(low_rank))
    torch.testing.assert_close(module(), low_rank.best(target, 3).matrix, atol=1e-8, rtol=0)


def test_other_parameters_take_a_gradient_step(low_rank):
    x = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    groups = [{"params": [x], "lr": 0.1, "weight_decay": 0.5}]
    optimizer = low_rank.LowRankDescent(low_rank.LowRankDescentConfig(), groups=groups)

    def closure():
        optimizer.zero_grad()
        loss = x.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 5
    torch.testing.assert_close(x.detach(), torch.tensor([1.0, 2.0]) * (1 - 0.1 * 2.5))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 0}, "rank must be from 1 to 16"),
        ({"rank": 17}, "rank must be from 1 to 16"),
        ({"decay_min": 3.0, "decay_max": 2.0}, "decay_min <= decay_max"),
        ({"dt_min": 0.0}, "dt_min"),
    ],
)
def test_options_out_of_range(low_rank, options, says):
    with pytest.raises(UsageError, match=says):
        low_rank.DiagonalPlusLowRank(low_rank.DiagonalPlusLowRankConfig(**options), d_model=2)
