"""Balanced truncation against slycot, mpmath and simulations."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.cauchy import cauchy_factor
from ssmbench.analysis.hankel import hankel_singular_values
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.proofs import prove
from ssmbench.errors import UsageError
from ssmbench.reduction import Amount, difference, proved_error
from ssmbench.reduction.balanced_form import NEGLIGIBLE, balanced_form
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, TimeVaryingDiagonal
from ssmbench.testing.reducers import example_lti_systems
from tests.builders import build_parametrization, build_scan

slycot = pytest.importorskip("slycot")

EXAMPLES = example_lti_systems()


def reduced(system, **amount):
    return registry.reducers.get("balanced_truncation").build().reduce(system, Amount(**amount))


def bank(heads=3, pairs=8, closest=0.01, seed=0):
    generator = torch.Generator().manual_seed(seed)
    radius = 1 - closest ** torch.rand(heads, pairs, generator=generator).double()
    angle = 0.2 * torch.rand(heads, pairs, generator=generator).double()
    b, c = torch.randn(2, heads, pairs, generator=generator, dtype=torch.complex128)
    D = torch.zeros(heads, 1, 1).double()
    lam = torch.polar(radius, angle)
    return DiscreteDiagonal(lam=lam, B=b[..., None], C=c[:, None], D=D, conjugate=True)


# --- singular values ----------------------------------------------------------------------------


def test_hankel_singular_values_are_right_to_1e_8_down_to_1e_14_of_the_largest():
    system = bank(heads=1, pairs=9, closest=0.5, seed=1)
    found = balanced_form(system).hankel[0]
    exact = torch.tensor(in_50_digits(system), dtype=torch.float64)
    known = exact > NEGLIGIBLE * exact[0]
    assert 8 <= int(known.sum()) < len(exact)
    assert float(((found - exact).abs() / exact)[known].max()) < 1e-8
    assert torch.equal(exact, exact.sort(descending=True)[0])


def in_50_digits(system):
    """Roots of the eigenvalues of the product of the Gramians of a bank of one, by mpmath."""
    with mpmath.workdps(50):
        lam = [mpmath.mpc(complex(z)) for z in system.poles()[0]]
        b = [mpmath.mpc(complex(z)) for z in both(system.B[0, :, 0])]
        c = [mpmath.mpc(complex(z)) for z in both(system.C[0, 0])]
        n = range(len(lam))
        X = mpmath.matrix(
            [[b[i] * b[j].conjugate() / (1 - lam[i] * lam[j].conjugate()) for j in n] for i in n]
        )
        Y = mpmath.matrix(
            [[c[i].conjugate() * c[j] / (1 - lam[i].conjugate() * lam[j]) for j in n] for i in n]
        )
        values, _ = mpmath.eig(X * Y)
        return sorted((float(mpmath.sqrt(abs(v))) for v in values), reverse=True)


def both(values):
    return torch.cat([values, values.conj()])


@pytest.mark.parametrize("name", EXAMPLES)
def test_hankel_singular_values_are_those_of_dense_factors(name):
    system = EXAMPLES[name]
    expected = hankel_singular_values(system)
    assert torch.allclose(balanced_form(system).hankel, expected, rtol=1e-9, atol=1e-13)


def test_the_factor_has_small_relative_errors_where_cholesky_breaks_down():
    lam = torch.linspace(0.1, 0.999, 24).to(torch.complex128)[None]
    B = torch.ones(1, 24, 1).to(torch.complex128)
    X = (B @ B.mH / (1 - lam[:, :, None] * lam[:, None].conj())).real
    assert int(torch.linalg.cholesky_ex(X[0]).info) > 0
    L = cauchy_factor(lam, B, discrete=True)
    assert torch.allclose((L @ L.mH).real, X, rtol=1e-13, atol=0)
    pivots = torch.linalg.vector_norm(L[0], dim=0)
    assert bool((pivots[1:] <= pivots[:-1]).all())


def test_a_continuous_factor_has_several_inputs():
    generator = torch.Generator().manual_seed(2)
    lam = -torch.rand(2, 9, generator=generator).double() + 1j
    B = torch.randn(2, 9, 3, generator=generator, dtype=torch.complex128)
    L = cauchy_factor(lam, B, discrete=False)
    X = -(B @ B.mH) / (lam[:, :, None] + lam[:, None].conj())
    assert torch.allclose(L @ L.mH, X, rtol=1e-12, atol=1e-12)


# --- slycot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [2, 4])
@pytest.mark.parametrize("name", ["dense", "two by three pairs"])
def test_it_is_the_system_that_slycot_finds(name, kept):
    system = EXAMPLES[name]
    arrays = {key: getattr(system.to_dense(), key)[0].numpy() for key in "ABCD"}
    A, B, C = arrays["A"], arrays["B"], arrays["C"]
    n, m, p = len(A), B.shape[1], C.shape[0]
    found = slycot.ab09ad("D", "B", "N", n, m, p, A.copy(), B.copy(), C.copy(), nr=kept)
    order, Ar, Br, Cr, hankel = found[:5]
    assert order == kept
    ours = reduced(system, order=kept)
    assert np.allclose(ours.hankel[0].numpy(), hankel, rtol=1e-9)
    A, B, C = (torch.from_numpy(np.array(t))[None] for t in (Ar, Br, Cr))
    theirs = DiscreteDense(A=A, B=B, C=C, D=system.D)
    assert float(hinf_norm(difference(ours.system, theirs)).norm) < 1e-9 * hankel[0]


# --- bounds and errors --------------------------------------------------------------------------


def test_every_head_keeps_a_bound_below_the_tolerance():
    system = bank(seed=3)
    found = reduced(system, tolerance=1e-2)
    assert bool((found.bound <= 1e-2).all())
    assert bool((found.hinf_error <= found.bound * (1 + 1e-8)).all())
    assert bool((found.orders < system.order).all())
    one_less = found.orders[:, None] - 1
    assert bool((balanced_form(system).tail_bounds().gather(1, one_less) > 1e-2).all())


def test_a_relative_tolerance_is_of_the_largest_singular_value():
    system = bank(seed=3)
    largest = float(hankel_singular_values(system).max())
    relative = reduced(system, tolerance=1e-3, relative=True)
    assert torch.equal(relative.orders, reduced(system, tolerance=1e-3 * largest).orders)


def test_the_measured_errors_are_those_of_a_simulation():
    system = bank(heads=1, seed=4)
    found = reduced(system, order=4)
    steps = 4096
    u = torch.zeros(1, steps, 1, 1).double()
    u[0, 0] = 1.0
    y, z = (build_scan("reference")(s, u)[0] for s in (system, found.system))
    assert float(torch.linalg.vector_norm(y - z)) == pytest.approx(float(found.h2_error), rel=1e-6)
    spectrum = torch.fft.rfft((y - z)[0, :, 0, 0], 8 * steps).abs().max()
    assert float(spectrum) == pytest.approx(float(found.hinf_error), rel=1e-3)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_proved_error_contains_the_measured_one_and_the_rounding_of_float32(name):
    system = EXAMPLES[name].single()
    found = reduced(system, order=3)
    assert found.system.D.dtype == torch.float32
    proved = proved_error(system, found.system)
    assert bool((found.hinf_error <= proved * (1 + 1e-9)).all())
    assert bool((proved <= found.bound * (1 + 1e-4) + 1e-4).all())


def test_a_layer_keeps_its_certificate():
    """Verified gain after <= verified gain before + bound, and <= before + proved error."""
    with torch.no_grad():
        system = build_parametrization("contraction", d_model=3, d_state=8)().double()
    found = reduced(system, order=3)
    before, after = (prove(s)[0].hinf for s in (system, found.system))
    assert math.isfinite(after.upper)
    assert after.upper <= before.upper + float(found.bound) * (1 + 1e-8)
    assert after.lower <= before.upper + float(proved_error(system, found.system))


def lags():
    one = torch.ones(1, 16, 1)
    lam = torch.linspace(0.1, 0.9, 16)[None]
    return DiscreteDiagonal(lam=lam, B=one, C=one.mT, D=torch.zeros(1, 1, 1))


def nearly_marginal(gap):
    """A dense system whose gain, 1 / gap, makes each rounding of its A large."""
    A = torch.diag(torch.tensor([1 - gap, 1 - 2 * gap, 0.5], dtype=torch.float64))[None]
    one = torch.ones(1, 3, 1).double()
    return DiscreteDense(A=A, B=one, C=one.mT, D=torch.zeros(1, 1, 1).double())


@pytest.mark.parametrize("system", [lags(), nearly_marginal(1e-10)], ids=["float32", "dense"])
def test_rounding_that_exceeds_the_bound_is_said_and_the_proved_error_has_it(system):
    order = 2 if isinstance(system, DiscreteDense) else 9
    found = reduced(system, order=order)
    assert float(found.hinf_error) > 10 * float(found.bound)
    assert found.above_bound.tolist() == [True]
    assert found.to_dict()["above_bound"] == 1
    assert float(proved_error(system, found.system)) >= float(found.hinf_error)


def test_the_bound_holds_where_rounding_is_small():
    found = reduced(lags().double(), order=5)
    assert found.above_bound.tolist() == [False]


def test_a_measured_limit_holds_for_the_rounded_matrices():
    """In float32 the lags cannot be reduced to the error that fits in float64."""
    limit, system = 1e-6, lags()
    exact = reduced(system.double(), tolerance=limit, measured=True)
    found = reduced(system, tolerance=limit, measured=True)
    assert float(exact.hinf_error) <= limit
    assert float(found.hinf_error) <= limit
    assert int(found.orders) > int(exact.orders)


def test_the_error_of_the_same_matrices_is_proved_to_be_zero():
    system = EXAMPLES["bank of pairs"]
    assert proved_error(system, system).tolist() == [0.0, 0.0, 0.0]
    other = system.with_dynamics(system.lam * (1 - 1e-12))
    assert bool((proved_error(system, other) > 0).all())


# --- the reduced system -------------------------------------------------------------------------


def test_heads_of_lower_order_are_padded_and_signals_stay_real():
    system = bank(seed=5)
    quiet = torch.tensor([1.0, 1e-3, 0.0]).double()[:, None, None]
    system = DiscreteDiagonal(
        lam=system.lam, B=system.B * quiet, C=system.C, D=system.D, conjugate=True
    )
    found = reduced(system, tolerance=1e-2)
    assert found.orders[0] > found.orders[1] >= found.orders[2] == 0
    assert isinstance(found.system, DiscreteDiagonal)
    assert found.system.is_real()
    assert bool((found.hinf_error <= found.bound * (1 + 1e-8)).all())
    assert found.removed == pytest.approx(1 - int(found.orders.sum()) / 48)


def test_a_system_that_would_not_get_smaller_is_returned_as_it_is():
    system = EXAMPLES["bank of pairs"]
    found = reduced(system, tolerance=0.0)
    assert torch.equal(found.system.lam, system.lam)
    assert found.hinf_error.tolist() == [0.0, 0.0, 0.0]
    assert found.orders.tolist() == [system.order] * 3


def test_eigenvectors_of_a_double_pole_are_not_used():
    """A chain of two equal lags has one eigenvector."""
    A = torch.tensor([[[0.5, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.1]]]).double()
    B = torch.tensor([[[0.0], [1.0], [1e-6]]]).double()
    C = torch.tensor([[[1.0, 0.0, 1e-6]]]).double()
    system = DiscreteDense(A=A, B=B, C=C, D=torch.zeros(1, 1, 1).double())
    found = reduced(system, order=2)
    assert isinstance(found.system, DiscreteDense)
    assert float(found.hinf_error) <= float(found.bound) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ({}, "given: none"),
        ({"order": 1, "share": 0.5}, "given: order and share"),
        ({"tolerance": -1.0}, "not negative"),
        ({"share": 1.0}, r"in \[0, 1\)"),
        ({"order": -1}, "0 or more"),
        ({"order": 1.5}, "order: must be a whole number, got 1.5"),
        ({"order": True}, "order: must be a whole number, got True"),
        ({"share": "half"}, "share: must be a number, got 'half'"),
        ({"tolerance": math.nan}, "must be finite"),
        ({"order": 2, "relative": True}, "relative: applies to a tolerance only"),
        ({"share": 0.5, "measured": True}, "measured: applies to a tolerance only"),
    ],
)
def test_what_is_kept_is_one_number_in_its_range(amount, says):
    with pytest.raises(UsageError, match=says):
        Amount(**amount)


def test_systems_that_cannot_be_reduced_are_named():
    one = torch.ones(1, 1, 1).double()
    lost = DiscreteDiagonal(lam=one[0] / 2, B=one * math.nan, C=one, D=one)
    with pytest.raises(UsageError, match="not finite"):
        reduced(lost, order=1)
    places = torch.ones(1, 2, 1, 1, 1).double()
    lam = 0.5 * places[..., 0]
    with pytest.raises(UsageError, match="time-varying"):
        reduced(TimeVaryingDiagonal(lam=lam, B=places, C=places, D=one), order=1)


def test_a_limit_of_the_measured_error_keeps_fewer_states():
    system = EXAMPLES["two by three pairs"]
    limit = 20.0
    plain, fewer = (reduced(system, tolerance=limit, measured=m) for m in (False, True))
    assert int(fewer.orders) < int(plain.orders)
    assert float(fewer.hinf_error) <= limit < float(fewer.bound)
    assert float(reduced(system, order=int(fewer.orders) - 1).hinf_error) > limit
    share = limit / float(plain.hankel.max())
    again = reduced(system, tolerance=share, measured=True, relative=True)
    assert torch.equal(again.orders, fewer.orders)


def test_a_measured_limit_splits_no_pair():
    found = (
        registry.reducers.get("modal_truncation")
        .build()
        .reduce(bank(seed=8), Amount(tolerance=0.5, measured=True))
    )
    assert not bool((found.orders % 2).any())
    assert bool((found.hinf_error <= 0.5).all())
