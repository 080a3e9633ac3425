"""Oscillators as a value: every view of them agrees with q'' = -a q - g q' + B u."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.errors import ShapeError
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    DiscreteDiagonal,
    block_diagonal,
)

#: One of each kind: undamped, underdamped, critical, overdamped, drifting, free.
STIFFNESS = [4.0, 2.0, 1.0, 1.0, 0.0, 0.0]
DAMPING = [0.0, 0.3, 2.0, 5.0, 0.7, 0.0]


def oscillators(a, g, m=2, p=3, dt=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(1, *shape, dtype=torch.float64, generator=generator)

    n = len(a)
    return ContinuousOscillator(
        a=torch.tensor([a], dtype=torch.float64),
        g=torch.tensor([g], dtype=torch.float64),
        B=normal(n, m),
        C=normal(p, n),
        C_v=normal(p, n),
        D=normal(p, m),
        dt=torch.tensor([dt], dtype=torch.float64),
    )


def sorted_poles(system):
    poles = [complex(z) for z in system.poles()[0]]
    return torch.tensor(sorted(poles, key=lambda z: (round(z.real, 6), round(z.imag, 6))))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 20)), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_first_order_and_dense_forms_have_the_same_response(parameters):
    system = oscillators(*zip(*parameters, strict=True))
    omega = torch.tensor([0.3, 1.7, 9.0], dtype=torch.float64)
    expected = system.frequency_response(omega)
    for form in (system.to_dense(), system.first_order()):
        found = form.frequency_response(omega)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * expected.abs().max())
        assert form.order == system.order


def test_response_is_that_of_the_equation():
    system = oscillators([2.0], [0.3], m=1, p=1)
    s = 1j * 0.7
    read = system.C.item() + s * system.C_v.item()
    expected = read * system.B.item() / (s * s + 0.3 * s + 2.0) + system.D.item()
    found = system.frequency_response(torch.tensor([0.7], dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_poles_are_those_of_the_dense_form():
    for a, g in zip(STIFFNESS, DAMPING, strict=True):
        system = oscillators([a], [g])
        # a double pole is only as good as the root of rounding
        found, expected = sorted_poles(system), sorted_poles(system.to_dense())
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@given(st.floats(1e-12, 1), st.floats(1, 1e6))
@settings(max_examples=30, deadline=None)
def test_a_heavily_damped_oscillator_is_stable(a, g):
    poles = oscillators([a], [g]).poles()[0]
    assert (poles.real < 0).all()
    product = poles[0] * poles[1]
    assert product.real.item() == pytest.approx(a, rel=1e-9)


def test_pairs_where_underdamped_and_dense_where_not():
    for a, g in zip(STIFFNESS, DAMPING, strict=True):
        form = oscillators([a, 3.0], [g, 0.1]).first_order()
        underdamped = a > g * g / 4
        assert isinstance(form, ContinuousDiagonal if underdamped else ContinuousDense)
        assert form.states == (2 if underdamped else 4)


@pytest.mark.parametrize("entry", registry.discretizers.entries(), ids=lambda e: e.name)
@pytest.mark.parametrize("case", range(len(STIFFNESS)))
def test_every_discretizer_takes_every_oscillator(entry, case):
    """Beside a lively neighbour, and with a gradient."""
    system = oscillators([STIFFNESS[case], 3.0], [DAMPING[case], 0.1])
    system = system.map(lambda t: t.requires_grad_())
    discrete = entry.build()(system)
    assert discrete.is_finite()
    total = sum(t.abs().square().sum() for t in discrete.tensors().values())
    gradients = torch.autograd.grad(total, [system.a, system.g, system.B, system.dt])
    assert all(g.isfinite().all() for g in gradients)


def test_other_discretizers_see_the_first_order_form():
    system = oscillators([2.0, 0.5], [0.3, 0.0])
    zoh = registry.discretizers.get("zoh").build()
    found, expected = zoh(system), zoh(system.to_dense())
    assert isinstance(found, DiscreteDiagonal)
    omega = torch.linspace(0.1, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        found.frequency_response(omega), expected.frequency_response(omega), rtol=1e-9, atol=1e-9
    )


def test_gain_of_damped_oscillators_is_the_closed_form():
    """1 / (s^2 + g s + a) peaks at 1 / (g sqrt(a - g^2 / 4))."""
    system = oscillators([2.0], [0.3], m=1, p=1)
    one = torch.ones_like(system.B)
    system = dataclasses.replace(system, B=one, C=one, C_v=0 * one, D=0 * one)
    report = analyse(system)
    peak = 1 / (0.3 * math.sqrt(2 - 0.3**2 / 4))
    assert report.stable
    assert report.hinf == pytest.approx(peak, rel=1e-8)
    assert peak <= report.hinf_upper_bound <= 1.01 * peak
    assert report.h2 == pytest.approx(math.sqrt(1 / (2 * 0.3 * 2.0)), rel=1e-8)


def test_undamped_oscillators_have_no_finite_gain():
    report = analyse(oscillators([2.0, 1.0], [0.0, 0.5]))
    assert not report.stable
    assert report.hinf == report.hinf_upper_bound == report.h2 == math.inf


@pytest.mark.parametrize("name", ["a", "g", "C_v"])
def test_shapes_that_do_not_fit_are_refused_by_name(name):
    system = oscillators([2.0, 1.0], [0.3, 0.1])
    wrong = torch.cat([getattr(system, name)] * 2, -1)
    with pytest.raises(ShapeError):
        dataclasses.replace(system, **{name: wrong})
    with pytest.raises(ShapeError, match=f"{name} needs"):
        dataclasses.replace(system, **{name: wrong[0]})


def test_block_diagonal_matrices_keep_what_is_not_finite_in_its_block():
    blocks = torch.arange(8.0).reshape(1, 2, 2, 2)
    expected = torch.block_diag(*blocks[0])
    assert torch.equal(block_diagonal(blocks)[0], expected)
    blocks[0, 0, 0, 0] = math.inf
    assert torch.equal(block_diagonal(blocks)[0, 2:], expected[2:])
