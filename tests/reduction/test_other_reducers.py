"""Modal truncation and singular perturbation, and all reducers on the layers of every variant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.proofs import prove
from ssmbench.errors import UsageError
from ssmbench.reduction import Amount, proved_error
from ssmbench.reduction.balanced_form import balanced_form
from ssmbench.reduction.h2_optimal import refine
from ssmbench.reduction.singular_perturbation import Residualised
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI
from ssmbench.testing.reducers import example_lti_systems
from tests.builders import build_layer, discretizer_for
from tests.tools import load_tool

EXAMPLES = example_lti_systems()


def reduced(name, system, **amount):
    return registry.reducers.get(name).build().reduce(system, Amount(**amount))


# --- singular perturbation ----------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_response_to_a_constant_stays_exact(name):
    system = EXAMPLES[name]
    one = torch.ones(1, dtype=torch.complex128)
    expected = system.response(one.expand(system.heads, 1))
    truncated, settled = (
        reduced(kind, system, order=2).system.response(one.expand(system.heads, 1))
        for kind in ("balanced_truncation", "singular_perturbation")
    )
    size = float(expected.abs().max())
    assert float((settled - expected).abs().max()) < 1e-10 * size
    assert float((truncated - expected).abs().max()) > 1e-4 * size


def test_it_is_the_solution_with_the_weak_states_at_rest():
    system = EXAMPLES["dense"]
    form = balanced_form(system)
    small = Residualised(form, form.tail_bounds()).at(torch.tensor([2]))
    A, B, C = form.system.A[0], form.system.B[0], form.system.C[0]
    rest = torch.linalg.inv(torch.eye(3).double() - A[2:, 2:])
    assert torch.allclose(small.A[0], A[:2, :2] + A[:2, 2:] @ rest @ A[2:, :2])
    assert torch.allclose(small.B[0], B[:2] + A[:2, 2:] @ rest @ B[2:])
    assert torch.allclose(small.C[0], C[:, :2] + C[:, 2:] @ rest @ A[2:, :2])
    assert torch.allclose(small.D[0], system.D[0] + C[:, 2:] @ rest @ B[2:])


def all_pass(n, seed):
    """An all-pass system, whose Hankel singular values are all 1, from an orthogonal matrix."""
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(n + 1, n + 1, generator=generator, dtype=torch.float64))[0]
    parts = (Q[:n, :n], Q[:n, n:], Q[n:, :n], Q[n:, n:])
    return DiscreteDense(**dict(zip("ABCD", (part[None] for part in parts), strict=True)))


@pytest.mark.parametrize("seed", [10, 16, 27])
def test_what_is_returned_is_stable_where_equal_values_make_the_theorem_fail(seed):
    """Singular perturbation between equal singular values may have a pole on the unit circle."""
    system = all_pass(4, seed).single()
    for kind in ("singular_perturbation", "balanced_truncation"):
        for kept in range(1, 4):
            found = reduced(kind, system, order=kept)
            assert float(found.system.double().spectral_radius()) < 1
            assert float(found.hinf_error) <= float(found.bound) * (1 + 1e-4)
            assert int(found.orders) <= kept


# --- modal truncation ---------------------------------------------------------------------------


def test_modes_are_kept_as_they_are():
    system = EXAMPLES["bank of pairs"]
    found = reduced("modal_truncation", system, order=3)
    assert found.orders.tolist() == [2, 2, 2]
    assert found.system.states == 1
    for head in range(3):
        assert found.system.lam[head, 0] in system.lam[head]


def test_a_pair_of_a_dense_system_is_not_split():
    system = EXAMPLES["dense"]
    pairs = int((system.poles().imag.abs() > 0).sum()) // 2
    reached = {int(reduced("modal_truncation", system, order=k).orders[0]) for k in range(6)}
    assert len(reached) == 6 - pairs
    assert reduced("modal_truncation", system, order=0).system.states == 1


def test_heads_with_other_numbers_of_real_modes():
    A = torch.stack([torch.diag(torch.tensor([0.9, 0.5, 0.2])), torch.zeros(3, 3)]).double()
    A[1, :2, :2] = torch.tensor([[0.6, -0.6], [0.6, 0.6]])
    ones = torch.ones(2, 3, 1).double()
    system = DiscreteDense(A=A, B=ones, C=ones.mT, D=torch.zeros(2, 1, 1).double())
    found = reduced("modal_truncation", system, order=2)
    assert found.orders.tolist() == [2, 2]
    assert bool((found.hinf_error <= found.bound * (1 + 1e-9)).all())


def test_a_system_without_eigenvectors_is_refused():
    A = torch.tensor([[[0.5, 1.0], [0.0, 0.5]]]).double()
    one = torch.ones(1, 2, 1).double()
    chain = DiscreteDense(A=A, B=one, C=one.mT, D=torch.zeros(1, 1, 1).double())
    with pytest.raises(UsageError, match="badly conditioned"):
        reduced("modal_truncation", chain, order=1)


@pytest.mark.parametrize("name", registry.reducers.names())
def test_a_system_without_states_is_returned_as_it_is(name):
    D = torch.ones(2, 1, 1).double()
    empty = DiscreteDense(A=D[:, :0, :0], B=D[:, :0], C=D[..., :0], D=D)
    found = reduced(name, empty, order=1)
    assert found.orders.tolist() == [0, 0]
    assert torch.equal(found.system.D, D)
    assert found.hinf_error.tolist() == [0.0, 0.0]


# --- layers -------------------------------------------------------------------------------------


def layer_system(name) -> DiscreteLTI | None:
    """The system of a small layer; None where it varies, or is not stable as it starts."""
    entry = registry.parametrizations.get(name)
    if entry.factory.is_time_varying():
        return None
    method = discretizer_for(name, "backward_euler" if name == "linoss" else "zoh")
    with torch.no_grad():
        system = build_layer(name, method, d_model=4, seed=0).system()
    return system if bool((system.spectral_radius() < 1).all()) else None


LAYERS = {
    name: system
    for name in registry.parametrizations.names()
    if (system := layer_system(name)) is not None
}


def test_most_variants_are_among_the_layers():
    assert {"s4d", "s5", "lru", "l2ru", "contraction", "linoss", "unconstrained_dense"} <= {*LAYERS}


@pytest.mark.parametrize("name", LAYERS)
def test_half_of_a_layer_is_removed_within_the_bound(name):
    system = LAYERS[name]
    found = reduced("balanced_truncation", system, share=0.5)
    assert type(found.system) in (DiscreteDiagonal, DiscreteDense)
    assert found.system.is_real() == system.is_real()
    assert found.system.signal_dtype == system.signal_dtype
    assert found.states <= max(system.states, 1)
    assert not bool(found.above_bound.any())
    assert bool((found.system.spectral_radius() < 1).all())


@pytest.mark.parametrize("name", ["l2ru", "contraction", "l2ru_conservative", "contraction_block"])
def test_a_reduced_layer_of_prescribed_gain_keeps_a_certificate(name):
    system = LAYERS[name]
    found = reduced("balanced_truncation", system, share=0.5)
    before, after = (prove(one)[0].hinf.upper for one in (system, found.system))
    assert math.isfinite(after)
    assert after <= before + float(proved_error(system, found.system)) * (1 + 1e-9)
    assert after <= before + float(found.bound) * (1 + 1e-6) + 1e-5


# --- H2-optimal refinement ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "two by three pairs"])
def test_the_refined_system_interpolates_at_the_mirror_images_of_its_poles(name):
    """The conditions of first order for the smallest H2 error (Bunse-Gerstner et al. 2010)."""
    form = balanced_form(EXAMPLES[name])
    whole = [t[0].numpy() for t in (form.system.A, form.system.B, form.system.C)]
    A, B, C = refine((*whole,), (whole[0][:2, :2], whole[1][:2], whole[2][:, :2]), 300)
    lam, X = np.linalg.eig(A)
    b, c = np.linalg.solve(X, B), C @ X
    for i, mirrored in enumerate(1 / lam.conj()):
        error = transfer(whole, mirrored) - transfer((A, B, C), mirrored)
        size = np.abs(error).max()
        assert np.abs(error @ b[i].conj()).max() < 1e-5 * size
        assert np.abs(c[:, i].conj() @ error).max() < 1e-5 * size


def transfer(system, z):
    A, B, C = system
    return C @ np.linalg.solve(z * np.eye(len(A)) - A, B)


@pytest.mark.parametrize("name", ["s4d", "s5", "lru", "linoss"])
def test_the_refinement_lowers_the_h2_error_within_the_same_bound(name):
    system = LAYERS[name]
    plain, refined = (
        reduced(kind, system, share=0.7) for kind in ("balanced_truncation", "h2_optimal")
    )
    assert torch.equal(plain.orders, refined.orders)
    assert bool((refined.h2_error <= plain.h2_error * (1 + 1e-4)).all())  # both in float32
    assert bool((refined.hinf_error <= plain.bound * (1 + 1e-4)).all())
    assert float(refined.h2_error.sum()) < 0.999 * float(plain.h2_error.sum())


def test_the_tool_has_a_line_for_each_reducer():
    tool = load_tool("reducers")
    line = tool.line("l2ru", "modal_truncation", tool.layer("l2ru", 4), Amount(share=0.5))
    assert line.split()[:4] == ["l2ru", "modal_truncation", "4", "2"]
