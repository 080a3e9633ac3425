"""The currency: shapes are checked, and every view of a system agrees with its definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.errors import ShapeError
from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    DiscreteDense,
    DiscreteDiagonal,
)

sizes = st.tuples(*(st.integers(1, 4) for _ in range(4)))


def diagonal(H, N, m, p, *, conjugate=True, continuous=False, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=torch.complex128):
        return torch.randn(*shape, dtype=dtype, generator=g)

    matrices = {
        "lam": normal(H, N) / 4,
        "B": normal(H, N, m),
        "C": normal(H, p, N),
        "D": normal(H, p, m, dtype=torch.float64),
        "conjugate": conjugate,
    }
    if continuous:
        return ContinuousDiagonal(dt=torch.rand(H, dtype=torch.float64, generator=g), **matrices)
    return DiscreteDiagonal(**matrices)


@given(sizes, st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_dense_form_has_the_same_response_and_poles(size, conjugate, continuous):
    system = diagonal(*size, conjugate=conjugate, continuous=continuous)
    dense = system.to_dense()
    omega = torch.linspace(-3, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(system.frequency_response(omega), dense.frequency_response(omega))
    key = lambda z: (round(z.real, 9), round(z.imag, 9))  # noqa: E731
    ours = [sorted(map(complex, row), key=key) for row in system.poles().tolist()]
    theirs = [sorted(map(complex, row), key=key) for row in dense.poles().tolist()]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert dense.order == system.order
    if conjugate:
        assert not any(t.is_complex() for t in dense.tensors().values())


def test_frequency_response_is_the_transform_of_the_impulse_response():
    system = diagonal(1, 3, 1, 1).to_dense()
    A, B, C, D = (t[0].numpy() for t in (system.A, system.B, system.C, system.D))
    markov = [D, *(C @ np.linalg.matrix_power(A, t) @ B for t in range(400))]
    omega = np.array([0.0, 0.7, 2.5])
    expected = [sum(h * np.exp(-1j * w * t) for t, h in enumerate(markov)) for w in omega]
    found = system.frequency_response(torch.from_numpy(omega))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_frequencies_may_differ_between_copies():
    system = diagonal(3, 2, 1, 2)
    omega = torch.rand(3, 5, dtype=torch.float64)
    together = system.frequency_response(omega)
    for h in range(3):
        torch.testing.assert_close(system.head(h).frequency_response(omega[h])[0], together[h])


def good_dense():
    return {
        "A": torch.eye(3)[None],
        "B": torch.ones(1, 3, 2),
        "C": torch.ones(1, 1, 3),
        "D": torch.ones(1, 1, 2),
    }


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("A", torch.ones(1, 3, 4), "A has shape (1, 3, 4)"),
        ("B", torch.ones(1, 4, 2), "it must be (1, 3, 2)"),
        ("C", torch.ones(1, 1, 4), "it must be (1, 1, 3)"),
        ("D", torch.ones(1, 2, 2), "it must be (1, 1, 2)"),
        ("B", torch.ones(3, 2), "needs 3 dimensions"),
        ("D", torch.ones(2, 1, 2), "D has shape (2, 1, 2)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(name, value, says):
    with pytest.raises(ShapeError) as error:
        DiscreteDense(**(good_dense() | {name: value}))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_step_sizes_belong_to_copies():
    with pytest.raises(ShapeError, match="dt has shape"):
        ContinuousDense(**good_dense(), dt=torch.ones(2))


def test_conjugate_pairs_need_complex_poles():
    with pytest.raises(ShapeError, match="must be complex"):
        DiscreteDiagonal(
            lam=torch.ones(1, 2),
            B=torch.ones(1, 2, 1),
            C=torch.ones(1, 1, 2),
            D=torch.ones(1, 1, 1),
            conjugate=True,
        )


def test_systems_are_frozen():
    system = DiscreteDense(**good_dense())
    with pytest.raises(AttributeError):
        system.A = torch.zeros(1, 3, 3)


def test_spectral_radius_and_abscissa():
    rotation = torch.tensor([[[0.0, -0.9], [0.9, 0.0]]])
    matrices = {
        "A": rotation,
        "B": torch.ones(1, 2, 1),
        "C": torch.ones(1, 1, 2),
        "D": torch.zeros(1, 1, 1),
    }
    assert DiscreteDense(**matrices).spectral_radius().item() == pytest.approx(0.9)
    assert DiscreteDense(**matrices).is_stable()
    continuous = ContinuousDense(**matrices, dt=torch.ones(1))
    assert continuous.spectral_abscissa().item() == pytest.approx(0.0, abs=1e-7)
    assert not continuous.is_stable()


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_matrix_that_is_not_finite_has_no_finite_radius(bad):
    matrices = good_dense()
    matrices["A"] = matrices["A"].clone()
    matrices["A"][0, 0, 0] = bad
    system = DiscreteDense(**matrices)
    assert not system.is_finite()
    assert system.spectral_radius().item() == math.inf
    assert not system.is_stable()


# --- static gains: no states --------------------------------------------------------------------


def static_gains():
    """D alone, in every structure and time domain."""
    D = torch.tensor([[[2.0, -1.0]], [[0.5, 3.0]]], dtype=torch.float64)
    none = {"B": D.new_zeros(2, 0, 2), "C": D.new_zeros(2, 1, 0), "D": D}
    dt, empty, pairs = D.new_ones(2), D.new_zeros(2, 0), D.new_zeros(2, 0, dtype=torch.complex128)
    return {
        "ContinuousDense": ContinuousDense(A=D.new_zeros(2, 0, 0), dt=dt, **none),
        "DiscreteDense": DiscreteDense(A=D.new_zeros(2, 0, 0), **none),
        "ContinuousDiagonal": ContinuousDiagonal(lam=empty, dt=dt, **none),
        "DiscreteDiagonal": DiscreteDiagonal(lam=empty, **none),
        "conjugate pairs": DiscreteDiagonal(lam=pairs, conjugate=True, **none),
        "oscillators": ContinuousOscillator(a=empty, g=empty, C_v=none["C"], dt=dt, **none),
    }


@pytest.mark.parametrize("name", static_gains())
def test_a_system_without_states_is_its_feedthrough(name):
    system = static_gains()[name]
    for form in (system, system.to_dense()):
        assert (form.states, form.order) == (0, 0)
        assert form.poles().shape == (2, 0)
        response = form.frequency_response(torch.linspace(0, 3, 5, dtype=torch.float64))
        torch.testing.assert_close(response, form.D[:, None].expand(-1, 5, -1, -1) + 0j)
        assert form.is_stable()
        if "Discrete" in type(form).__name__:
            assert form.spectral_radius().tolist() == [0, 0]
        else:
            assert form.spectral_abscissa().tolist() == [-math.inf, -math.inf]
