"""Symplectic discretizers against the recurrences and the theory of Hairer, Lubich, Wanner."""

import dataclasses
import math

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.upper_bound import hinf_bound
from ssmbench.errors import UsageError
from ssmbench.systems import (
    ContinuousDense,
    ContinuousOscillator,
    DiscreteDense,
    DiscreteDiagonal,
)

NAMES = ["symplectic_euler", "stormer_verlet"]
both = pytest.mark.parametrize("name", NAMES)


def method(name):
    return registry.discretizers.get(name).build()


def oscillators(a, g=None, h=1.0, m=1, dtype=torch.float64, seed=0):
    """y = (q, q') of every oscillator: C reads the positions, then C_v the velocities."""
    n = len(a)
    generator = torch.Generator().manual_seed(seed)
    eye, zero = torch.eye(n, dtype=dtype), torch.zeros(n, n, dtype=dtype)
    return ContinuousOscillator(
        a=torch.tensor([a], dtype=dtype),
        g=torch.tensor([g or [0.0] * n], dtype=dtype),
        B=torch.randn(1, n, m, dtype=dtype, generator=generator),
        C=torch.cat([eye, zero])[None],
        C_v=torch.cat([zero, eye])[None],
        D=torch.zeros(1, 2 * n, m, dtype=dtype),
        dt=torch.tensor([h], dtype=dtype),
    )


def simulate(system, u):
    """y (L, p) from rest for u (L, m)."""
    y, _ = registry.scans.get("reference").build()(system, u[None, :, None], None)
    return y[0, :, 0]


def by_hand(name, system, u):
    """(q, q') at every step from rest, by the rule's own words."""
    a, g, B, h = system.a[0], system.g[0], system.B[0], system.dt[0]
    q = v = torch.zeros_like(a)
    seen = []
    for force in u @ B.T:
        seen.append(torch.cat([q, v]))
        if name == "symplectic_euler":
            v = (v + h * (force - a * q)) / (1 + h * g)
            q = q + h * v
        else:
            v = (v + h / 2 * (force - a * q)) / (1 + h / 2 * g)
            q = q + h * v
            v = v + h / 2 * (force - a * q - g * v)
    return torch.stack(seen)


@both
@pytest.mark.parametrize(
    ("a", "g", "kind"),
    [
        ([0.5, 3.0, 1.0], [0.0, 0.2, 0.0], DiscreteDiagonal),
        ([0.5, 0.0, 1.0], [0.0, 0.0, 0.4], DiscreteDense),
        ([4.0, 4.2, 3.9999999], [0.0, 0.0, 0.0], DiscreteDense),
        ([0.5, 1.0], [3.0, 40.0], DiscreteDense),
    ],
)
def test_trajectories_are_those_of_the_rule(name, a, g, kind):
    torch.manual_seed(0)
    system, u = oscillators(a, g, m=2), torch.randn(40, 2, dtype=torch.float64)
    discrete = method(name)(system)
    assert type(discrete) is kind
    assert discrete.order == 2 * len(a)
    expected = by_hand(name, system, u)
    scale = expected.abs().max().item()
    torch.testing.assert_close(simulate(discrete, u), expected, rtol=1e-9, atol=1e-10 * scale)


def bank(a, h, dtype=torch.float64):
    """Copies of one oscillator each: a (H,) and h (H,)."""
    one = torch.ones(len(a), 1, 1, dtype=dtype)
    return ContinuousOscillator(
        a=a[:, None].to(dtype),
        g=torch.zeros(len(a), 1, dtype=dtype),
        B=one,
        C=one,
        C_v=0 * one,
        D=0 * one,
        dt=h.to(dtype),
    )


@both
def test_multipliers_lie_on_the_unit_circle_at_the_right_angle(name):
    """cos theta = 1 - (h w)^2 / 2 for both: they are conjugate maps."""
    h = torch.logspace(-3, 2, 500, dtype=torch.float64)
    hw = torch.linspace(0.0011, 1.99, 500, dtype=torch.float64)
    discrete = method(name)(bank((hw / h) ** 2, h))
    assert isinstance(discrete, DiscreteDiagonal)
    lam = discrete.lam[:, 0]
    torch.testing.assert_close(lam.abs(), torch.ones_like(hw), rtol=0, atol=1e-14)
    torch.testing.assert_close(lam.angle(), 2 * torch.asin(hw / 2), rtol=1e-9, atol=0)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [DiscreteDiagonal, DiscreteDense])
def test_an_undamped_oscillator_has_no_finite_gain_at_any_step(name, dtype, form):
    """Rounding must not put the poles inside the circle, whatever the step and the precision."""
    torch.manual_seed(0)
    s = 3.9 * torch.rand(60, dtype=torch.float64) + 0.01
    if form is DiscreteDense:
        edges = (torch.zeros(1), torch.logspace(-30, -2, 20), 4 - torch.logspace(-16, -2, 20))
        s = torch.cat([*edges, 4 + torch.logspace(-16, 1, 20), s])
    discrete = method(name)(bank(s, torch.ones_like(s), dtype))
    assert type(discrete) is form
    peak = hinf_norm(discrete)
    assert (peak.norm == math.inf).all()
    assert (hinf_bound(discrete) == math.inf).all()
    within = (s > 0.01) & (s < 3.9)
    excess = discrete.double().spectral_radius()[within] - 1
    assert excess.max() < (3e-7 if dtype == torch.float32 else 1e-13)
    report = analyse(discrete)
    assert (report.stable, report.hinf, report.h2) == (False, math.inf, math.inf)


@both
@pytest.mark.parametrize("s", [4.5, 9.0])
def test_beyond_its_step_size_an_oscillator_grows_and_that_is_a_result(name, s):
    report = analyse(method(name)(oscillators([s, 1.0])))
    half = s / 2 - 1  # mu + 1 / mu = 2 - s
    assert report.spectral_radius == pytest.approx(half + math.sqrt(half**2 - 1), rel=1e-9)
    assert report.hinf == math.inf


def test_damping_widens_the_range_of_symplectic_euler_only():
    """h^2 a <= 4 + 2 h g, against h^2 a <= 4."""
    for s, c, stable in ((4.9, 0.5, (True, False)), (5.1, 0.5, (False, False))):
        found = tuple(method(n)(oscillators([s], [c])).is_stable() for n in NAMES)
        assert found == stable
    assert all(method(n)(oscillators([3.99], [0.5])).is_stable() for n in NAMES)


@both
def test_damped_gain_is_finite_and_seen(name):
    system = oscillators([1.0], [0.05])
    peak = hinf_norm(method(name)(system))
    grid = torch.linspace(0.01, 3.1, 20_001, dtype=torch.float64)
    response = method(name)(system).frequency_response(grid)[0]
    assert peak.norm.item() == pytest.approx(response.norm(dim=(-2, -1)).max().item(), rel=1e-4)


# --- order ----------------------------------------------------------------------------------------


def exact(a, g, force, t):
    """q and q' at t from rest under a constant force, underdamped."""
    w = math.sqrt(a - g * g / 4)
    decay, rest = math.exp(-g * t / 2), force / a
    q = rest * (1 - decay * (math.cos(w * t) + g / (2 * w) * math.sin(w * t)))
    return torch.tensor([q, rest * decay * a / w * math.sin(w * t)], dtype=torch.float64)


@both
@pytest.mark.parametrize("g", [0.0, 0.4])
def test_order_against_the_exact_solution_of_a_forced_oscillator(name, g):
    errors, steps = [], [2.0**-k for k in range(4, 9)]
    for h in steps:
        system = oscillators([2.0], [g], h=h)
        u = torch.ones(round(3 / h) + 1, 1, dtype=torch.float64)
        y = simulate(method(name)(system), u)[-1]
        errors.append((y - exact(2.0, g, system.B.item(), 3.0)).norm())
    slopes = (torch.stack(errors)[:-1] / torch.stack(errors)[1:]).log2()
    assert slopes[-1].item() == pytest.approx(method(name).facts.order, abs=0.05)


@both
def test_order_of_the_multiplier_of_a_damped_oscillator(name):
    h = 2.0 ** -torch.arange(4, 10, dtype=torch.float64)
    z = h * torch.tensor(-0.4 + 1.3j, dtype=torch.complex128)
    errors = (method(name).stability_function(z) - torch.exp(z)).abs()
    slope = (errors[-2] / errors[-1]).log2().item()
    assert slope == pytest.approx(method(name).facts.order + 1, abs=0.05)


# --- symplecticity ----------------------------------------------------------------------------


@both
def test_the_determinant_of_a_step(name):
    """1 without damping; (1 + c)^-1 and (1 - c/2) / (1 + c/2) with it."""
    grid = torch.linspace(0, 10, 50, dtype=torch.float64)
    s, c = torch.meshgrid(grid, grid / 10, indexing="ij")
    damped = {"symplectic_euler": 1 / (1 + c), "stormer_verlet": (1 - c / 2) / (1 + c / 2)}[name]
    torch.testing.assert_close(torch.det(method(name).step(s, c)[0]), damped, rtol=0, atol=1e-12)
    volume = torch.det(method(name).step(s, 0 * s)[0])
    torch.testing.assert_close(volume, torch.ones_like(s), rtol=0, atol=1e-12)


@both
def test_a_modified_energy_is_conserved(name):
    """Over 10,000 steps after a push: the true energy wavers, the modified one does not."""
    a, h, length = 1.7, 0.5, 10_000
    system = oscillators([a], h=h)
    u = torch.zeros(length, 1, dtype=torch.float64)
    u[0] = 1
    q, v = simulate(method(name)(system), u)[1:].unbind(-1)
    energy = v**2 + a * q**2
    shadow = energy - (h * a * q * v if name == "symplectic_euler" else (h * a * q) ** 2 / 4)
    spread = lambda e: ((e.max() - e.min()) / e.mean()).item()  # noqa: E731
    assert spread(shadow) < 1e-9
    assert spread(energy) > 0.05


# --- the two forms --------------------------------------------------------------------------------


def gradient(name, a, form, dtype):
    """d/da of the energy of an impulse response over 64 steps, through one of the two forms."""
    free = [] if form is DiscreteDiagonal else [0.0]
    system = oscillators([a, *free], dtype=dtype)
    keep = torch.zeros_like(system.B)
    keep[:, 0] = 1
    stiffness = system.a.requires_grad_()
    system = dataclasses.replace(system, a=stiffness, B=keep)
    discrete = method(name)(system)
    assert type(discrete) is form
    u = torch.zeros(64, 1, dtype=dtype)
    u[0] = 1
    energy = simulate(discrete, u).square().mean()
    return torch.autograd.grad(energy, stiffness)[0][0, 0].item() / energy.item()


@both
@pytest.mark.parametrize("a", [1e-4, 0.3, 3.0, 3.999])
def test_both_forms_have_the_same_gradient(name, a):
    dense = gradient(name, a, DiscreteDense, torch.float64)
    pairs = gradient(name, a, DiscreteDiagonal, torch.float64)
    assert pairs == pytest.approx(dense, rel=1e-6)
    assert gradient(name, a, DiscreteDense, torch.float32) == pytest.approx(dense, rel=1e-2)
    assert gradient(name, a, DiscreteDiagonal, torch.float32) == pytest.approx(dense, rel=1e-2)


@both
@pytest.mark.parametrize("edge", [0.0, 4.0])
def test_gradients_are_finite_at_and_around_the_edges(name, edge):
    for away in (0.0, *(sign * 10.0**-k for k in range(1, 9) for sign in (-1, 1))):
        a = max(edge + away, 0.0)
        system = oscillators([a, 1.0], dtype=torch.float32)
        stiffness = system.a.requires_grad_()
        discrete = method(name)(dataclasses.replace(system, a=stiffness))
        y = simulate(discrete, torch.ones(16, 1))
        (slope,) = torch.autograd.grad(y.square().sum(), stiffness)
        assert torch.isfinite(slope).all(), a


@both
def test_a_stiffness_that_is_not_a_number_is_a_system_that_is_not_finite(name):
    discrete = method(name)(oscillators([math.nan, 1.0]))
    assert not discrete.is_finite()
    assert analyse(discrete).hinf == math.inf


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a", [[1.0, 0.5], [1.0, 0.0]], ids=["pairs", "dense"])
def test_precision_is_kept(name, dtype, a):
    discrete = method(name)(oscillators(a, dtype=dtype))
    assert {t.real.dtype for t in discrete.tensors().values()} == {dtype}


# --- refusals ------------------------------------------------------------------------------------


@both
def test_first_order_systems_are_refused(name):
    pairs = oscillators([1.0]).first_order()
    dense = oscillators([1.0]).to_dense()
    assert isinstance(dense, ContinuousDense)
    for system in (pairs, dense):
        with pytest.raises(UsageError, match=r"samples only oscillators") as caught:
            method(name)(system)
        assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a", [1e-7, 0.3, 2.0])
def test_any_damping_keeps_an_oscillator_inside_the_unit_circle(name, dtype, a):
    """However small: dense (a = 1e-7, too close to critical) or as a pair."""
    for g in (1e-2, 1e-6, 1e-8, 1e-12, 1e-20):
        system = oscillators([a], [g], dtype=dtype)
        discrete = method(name)(system)
        assert isinstance(discrete, DiscreteDense if a < 1e-6 else DiscreteDiagonal)
        A = discrete.to_dense().A[0].double()
        # Jury's conditions, free of the rounding of eigenvalues
        trace, volume = A.trace(), A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]
        assert volume < 1
        assert 1 - trace + volume > 0 or (1 - A[0, 0]) * (1 - A[1, 1]) > A[0, 1] * A[1, 0]
