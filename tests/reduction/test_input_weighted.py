"""Balanced truncation for recorded inputs, against simulations."""

from __future__ import annotations

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.errors import UsageError
from ssmbench.reduction import Amount, RecordedInputs, difference
from ssmbench.reduction.balanced_form import balanced_form
from ssmbench.reduction.balanced_truncation import Truncated
from ssmbench.reduction.input_weighted import (
    InputWeighted,
    InputWeightedConfig,
    gain_bounds,
    input_weighted_form,
    state_gains,
)
from ssmbench.systems import DiscreteDense
from ssmbench.testing.reducers import example_lti_systems

EXAMPLES = example_lti_systems()
KINDS = {
    "white": lambda u: u,
    "drifting": lambda u: u.cumsum(1),
    "constant": lambda u: torch.ones_like(u),
}
WHITE = 0.01


def recorded(system, kind="drifting", seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (10, 100, system.heads * system.inputs)
    u = torch.randn(shape, generator=generator, dtype=torch.float64)
    return RecordedInputs(KINDS[kind](u))


def states_and_outputs(system, u):
    """By the definition, sequence by sequence: x (N, L, H, n) and y (N, L, H, p)."""
    dense = system.to_dense().double()
    x, states, outputs = u.new_zeros(len(u), dense.heads, dense.states), [], []
    for now in u.unflatten(-1, (dense.heads, -1)).unbind(1):
        states.append(x)
        y = torch.einsum("hpn,bhn->bhp", dense.C, x) + torch.einsum("hpm,bhm->bhp", dense.D, now)
        outputs.append(y)
        x = torch.einsum("hij,bhj->bhi", dense.A, x) + torch.einsum("him,bhm->bhi", dense.B, now)
    return torch.stack(states, 1), torch.stack(outputs, 1)


def energy(system, inputs):
    """The mean over steps of the square of each head's output."""
    return states_and_outputs(system, inputs.u)[1].square().sum((0, 1, 3)) / inputs.steps


def truncated(form, system, order):
    orders = torch.full((system.heads,), order)
    return Truncated(form, form.tail_bounds()).at(orders)


def error_shares(name, kind):
    """The energy of the output error on the recorded inputs as a share of its bound, for each head
    and order."""
    system, shares = EXAMPLES[name], []
    inputs = recorded(system, kind)
    form = input_weighted_form(balanced_form(system), inputs, WHITE)
    for order in range(system.order):
        found = energy(difference(system, truncated(form, system, order)), inputs)
        bound = form.hankel[:, order:].square().sum(-1) / (1 - WHITE)
        shares.append(found / bound)
    return torch.stack(shares)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_error_on_recorded_inputs_is_below_its_bound(name, kind):
    assert float(error_shares(name, kind).max()) < 1 + 1e-6


def test_a_bound_without_a_factor_of_two_would_be_exceeded():
    assert float(error_shares("lags", "white").max()) > 0.6


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_beats_balanced_truncation_on_drifting_inputs(name):
    system = EXAMPLES[name]
    inputs, plain = recorded(system), balanced_form(system)
    form = input_weighted_form(plain, inputs, WHITE)
    for order in (1, system.order - 1):
        ours, theirs = (
            energy(difference(system, truncated(one, system, order)), inputs)
            for one in (form, plain)
        )
        assert bool((ours < 0.95 * theirs).all())


@pytest.mark.parametrize("name", EXAMPLES)
def test_white_noise_alone_gives_balanced_truncation(name):
    system = EXAMPLES[name]
    inputs, plain = recorded(system), balanced_form(system)
    form = input_weighted_form(plain, inputs, 1.0)
    scale = inputs.power(system.heads).sqrt()[:, None]
    assert torch.allclose(form.hankel, scale * plain.hankel, rtol=1e-9)
    ours, theirs = (truncated(one, system, 2) for one in (form, plain))
    assert float(hinf_norm(difference(ours, theirs)).norm.max()) < 1e-9 * float(plain.hankel.max())


@pytest.mark.parametrize("seed", range(5))
def test_every_order_is_stable_and_within_its_bound(seed):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(2, 7, 7, generator=generator, dtype=torch.float64)
    A = A / (1.001 * torch.linalg.eigvals(A).abs().amax(-1))[:, None, None]
    B, C = torch.randn(2, 2, 7, 1, generator=generator, dtype=torch.float64)
    system = DiscreteDense(A=A, B=B, C=C.mT, D=torch.zeros(2, 1, 1).double())
    form = input_weighted_form(balanced_form(system), recorded(system, seed=seed), WHITE)
    bounds = gain_bounds(form)
    for order in range(7):
        small = truncated(form, system, order)
        assert float(small.spectral_radius().max()) < 1
        error = hinf_norm(difference(system, small)).norm
        assert bool((error <= bounds[:, order] * (1 + 1e-9)).all())


def test_a_state_that_the_recorded_inputs_leave_alone_is_in_the_bound():
    """Its gain of 5 is lost with it, however little of the inputs is white."""
    A, identity = torch.diag(torch.tensor([0.9, 0.8])).double()[None], torch.eye(2).double()[None]
    system = DiscreteDense(A=A, B=identity, C=identity, D=torch.zeros(1, 2, 2).double())
    u = torch.randn(4, 50, 2, generator=torch.Generator().manual_seed(0)).double()
    inputs = RecordedInputs(u * torch.tensor([1.0, 0.0]))
    for white in (1e-30, 1e-6, 0.01):
        reducer = InputWeighted(InputWeightedConfig(white=white))
        found = reducer.reduce(system, Amount(order=1), inputs)
        assert float(found.hinf_error) == pytest.approx(5.0)
        assert float(found.bound) >= 5.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_state_gains_are_upper_bounds(name):
    system = balanced_form(EXAMPLES[name]).system
    found = state_gains(system)
    for state in range(system.states):
        row = torch.eye(system.states).double()[state].expand(system.heads, 1, -1)
        alone = DiscreteDense(
            A=system.A,
            B=system.B,
            C=row,
            D=torch.zeros(system.heads, 1, system.inputs).double(),
        )
        exact = hinf_norm(alone).norm
        assert bool((exact <= found[:, state] * (1 + 1e-9)).all())
        assert bool((found[:, state] <= 8 * exact).all())


def test_a_pole_on_the_unit_circle_has_no_bound():
    one = torch.ones(1, 1, 1).double()
    with pytest.raises(UsageError, match="too close to the unit circle"):
        state_gains(DiscreteDense(A=one, B=one, C=one, D=one))


def test_the_covariance_leaves_padding_out():
    system = balanced_form(EXAMPLES["bank of pairs"]).system
    u, lengths = recorded(system).u[:3].clone(), torch.tensor([100, 7, 1])
    x = states_and_outputs(system, u)[0]
    parts = [torch.einsum("lhi,lhj->hij", x[i, :n], x[i, :n]) for i, n in enumerate(lengths)]
    expected = torch.stack(parts).sum(0) / 108
    for i, n in enumerate(lengths):
        u[i, n:] = torch.nan
    inputs = RecordedInputs(u, lengths)
    assert inputs.steps == 108
    assert torch.allclose(inputs.state_covariance(system), expected, rtol=1e-9, atol=1e-12)
    inside = torch.cat([u[i, :n] for i, n in enumerate(lengths)])
    assert torch.allclose(inputs.power(3), inside.square().mean(0))


def test_inputs_that_do_not_fit_are_refused():
    system = EXAMPLES["lags"]
    reducer = registry.reducers.get("input_weighted").build()
    with pytest.raises(UsageError, match="2 channels for a system of 1"):
        reducer.reduce(system, Amount(order=1), RecordedInputs(torch.ones(1, 4, 2)))
    with pytest.raises(UsageError, match="not finite"):
        RecordedInputs(torch.full((1, 4, 1), torch.inf))
    with pytest.raises(UsageError, match="at least one step"):
        RecordedInputs(torch.ones(0, 4, 1))


def test_inputs_of_zero_leave_balanced_truncation():
    system = EXAMPLES["bank of pairs"]
    reducer = InputWeighted(InputWeightedConfig())
    zero = RecordedInputs(torch.zeros(1, 4, 3))
    plain, weighted = (reducer.reduce(system, Amount(order=2), u) for u in (None, zero))
    assert torch.allclose(plain.hinf_error, weighted.hinf_error, rtol=1e-6)
    assert torch.equal(plain.orders, weighted.orders)
