"""The tighter network bound: exact where it can be, sound everywhere, and no proof of a lie."""

from __future__ import annotations

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.analysis.network_bound import bound as bound_module
from ssmbench.analysis.network_bound import multipliers, network_bound, proof
from ssmbench.analysis.network_bound.enclosed import Enclosed, is_positive
from ssmbench.analysis.network_bound.lumped import LumpedNetwork, Readout, static_block
from ssmbench.analysis.network_bound.responses import Response, compose, filtered, transform
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.systems import DiscreteDense, DiscreteDiagonal

WORK = 1e9
ONE = Enclosed.identity(1)


def static(maps, readout=Readout.steps, lengths=(6,)) -> LumpedNetwork:
    """One channel through static maps."""
    return LumpedNetwork(ONE, [static_block(f) for f in maps], ONE, readout, lengths)


def relu(width: int = 1) -> ShiftedMap:
    return ShiftedMap.of_slopes(0.0, 1.0, width)


def diagonal(seed: int, heads: int = 3, states: int = 2) -> DiscreteDiagonal:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    radius, angle = 0.3 + 0.6 * draw(heads, states).sigmoid(), draw(heads, states)
    return DiscreteDiagonal(
        lam=torch.polar(radius, angle),
        B=torch.complex(draw(heads, states, 1), draw(heads, states, 1)),
        C=torch.complex(draw(heads, 1, states), draw(heads, 1, states)),
        D=draw(heads, 1, 1),
        conjugate=True,
    )


def lumped(seed: int, readout: Readout, lengths=(5, 8), blocks: int = 2, width: int = 3):
    """A random network of GELUs between systems, with residual connections."""
    rng = np.random.default_rng(seed)
    eye = Enclosed.identity(width)
    made = []
    for k in range(blocks):
        f = ShiftedMap.of_slopes(-0.128905, 1.128905, width).then(
            Enclosed(rng.normal(size=(width, width)) / width)
        )
        core = static_block(f)
        made.append(
            dataclasses.replace(
                core, system=diagonal(seed + 100 * k, width), skip=eye, through=f.linear
            )
        )
    ends = Enclosed(rng.normal(size=(width, 2))), Enclosed(rng.normal(size=(3, width)))
    return LumpedNetwork(ends[0], made, ends[1], readout, lengths)


def run(network: LumpedNetwork, u: np.ndarray) -> np.ndarray:
    """The network itself, on one signal (L, m); its nonlinearities are GELUs."""
    x = u @ network.encoder.value.T
    for block in network.blocks:
        w = _scan(block.system, x)
        gelu = torch.nn.functional.gelu(torch.from_numpy(w)).numpy()
        mix = 2 * block.through.value  # through is the middle slope, a half, of it
        x = x + gelu @ mix.T
    z = x @ network.decoder.value.T
    if network.readout is Readout.steps:
        return z
    return network.readout.weights(len(u)) @ z


def _scan(system: DiscreteDiagonal, x: np.ndarray) -> np.ndarray:
    lam, B, C, D = (t.numpy() for t in (system.lam, system.B, system.C, system.D))
    state, out = np.zeros(lam.shape, complex), []
    for now in x:
        out.append(2 * (C[:, 0] * state).sum(1).real + D[:, 0, 0] * now)
        state = lam * state + B[..., 0] * now[:, None]
    return np.array(out)


def toeplitz(network: LumpedNetwork) -> np.ndarray:
    """The matrix of a linear network over its horizon."""
    _, z = compose(network)
    L, K, m = z.values.shape
    whole = np.zeros((L, K, L, m))
    for t in range(L):
        for s in range(t + 1):
            whole[t, :, s] = z.values[t - s]
    return whole.reshape(L * K, L * m)


# --- exact where it can be ------------------------------------------------------------------------


def test_static_maps_have_the_product_of_their_slopes():
    assert network_bound(static([relu(), relu()]), WORK).gain == pytest.approx(1, rel=1e-4)
    steep = ShiftedMap.of_slopes(-0.5, 2.0, 1)
    assert network_bound(static([steep]), WORK).gain == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("readout", [Readout.mean, Readout.unit, Readout.last])
def test_the_mean_of_an_identity_is_exact(readout):
    network = static([ShiftedMap.of_matrix(ONE)], readout, (6,))
    exact = np.linalg.norm(readout.weights(6))
    assert network_bound(network, WORK).gain == pytest.approx(exact, rel=1e-6)
    assert network_bound(network, WORK).gain >= exact


@pytest.mark.parametrize("readout", list(Readout))
def test_a_linear_network_is_bounded_closely(readout):
    """From below by the norm of its matrix over the horizon; from above by its peak per step."""
    network = lumped(3, readout, (40,))
    none = ShiftedMap.of_matrix(Enclosed.zeros(3, 3))
    blocks = [
        dataclasses.replace(b, out=none.out, read=none.read, radius=none.radius, groups=none.groups)
        for b in network.blocks
    ]
    network = dataclasses.replace(network, blocks=blocks)
    matrix = toeplitz(network)
    if readout is not Readout.steps:
        matrix = np.einsum("t,tkj->kj", readout.weights(40), matrix.reshape(40, 3, -1))
    exact = np.linalg.norm(matrix, 2)
    found = network_bound(network, WORK).gain
    assert exact <= found <= 1.25 * exact


def test_a_norm_bounded_rest_has_its_constant():
    f = ShiftedMap.of_lipschitz(3.0, 2, 2)
    network = LumpedNetwork(
        Enclosed.identity(2), [static_block(f)], Enclosed.identity(2), Readout.steps, (4,)
    )
    assert network_bound(network, WORK).gain == pytest.approx(3, rel=1e-3)


def test_no_smaller_bound_than_for_fewer_multiplications():
    network = lumped(0, Readout.mean)
    gains = [network_bound(network, work).gain for work in (2e5, 1e7, 1e9)]
    assert gains[0] >= gains[1] >= gains[2]


# --- sound ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    readout=st.sampled_from(list(Readout)),
    size=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_secants_stay_below_the_bound(seed, readout, size):
    network = lumped(seed, readout)
    found = network_bound(network, 1e8)
    sums = 0 if readout is Readout.steps else len(network.lengths)
    assert len(found.ellipsoids) == sums
    rng = np.random.default_rng(seed)
    for length in network.lengths:
        for _ in range(5):
            u, d = rng.normal(size=(length, 2)), size * rng.normal(size=(length, 2))
            change = run(network, u + d) - run(network, u)
            norm = np.linalg.norm(d)
            assert np.linalg.norm(change) <= found.gain * norm * (1 + 1e-9)
            for S in found.ellipsoids[network.lengths.index(length) :][:1]:
                e = rng.normal(size=3)
                assert (e @ change) ** 2 <= (e @ S @ e) * norm**2 * (1 + 1e-9)


def ascended(network: LumpedNetwork) -> float:
    """The gain of the differential at zero input of a network of GELUs, of slope 1/2 there."""
    half = [
        dataclasses.replace(b, out=Enclosed(0 * b.out.value), radius=0 * b.radius)
        for b in network.blocks
    ]
    matrix = toeplitz(dataclasses.replace(network, blocks=half))
    columns = np.arange(matrix.shape[1]) % (network.columns) < network.inputs
    return float(np.linalg.norm(matrix[:, columns], 2))


@pytest.mark.parametrize("seed", range(3))
def test_the_differential_at_zero_stays_below_the_bound(seed):
    network = lumped(seed, Readout.steps)
    assert ascended(network) <= network_bound(network, WORK).gain


# --- planted lies ---------------------------------------------------------------------------------


def test_a_slope_that_is_too_small_gives_a_bound_that_secants_break():
    lie = dataclasses.replace(relu(), radius=np.array([0.45]))
    assert network_bound(static([lie]), WORK).gain < 1


def test_without_the_radius_in_what_rests_read_the_bound_is_false(monkeypatch):
    def forgetful(network, reads, factors):
        roots = [
            f / np.maximum(b.radius, 1e-300) for f, b in zip(factors, network.blocks, strict=True)
        ]
        return honest(network, reads, roots)

    steep = static([ShiftedMap.of_slopes(-2.0, 2.0, 1)])
    assert network_bound(steep, WORK).gain >= 2
    honest = bound_module._stacked
    monkeypatch.setattr(bound_module, "_stacked", forgetful)
    assert network_bound(steep, WORK).gain < 2


def test_a_wrong_dirichlet_factor_makes_the_mean_too_small(monkeypatch):
    network = static([ShiftedMap.of_matrix(ONE)], Readout.mean, (6,))
    honest = bound_module.frequency_shares
    monkeypatch.setattr(bound_module, "frequency_shares", lambda *a: honest(*a) / math.sqrt(2))
    assert network_bound(network, WORK).gain < 1 / math.sqrt(6)


def test_multipliers_that_are_not_multiplied_prove_nothing():
    """B > 0 fails where the multipliers are left out: of a steep map they must be small."""
    network = static([ShiftedMap.of_slopes(-2.0, 2.0, 1), ShiftedMap.of_slopes(-2.0, 2.0, 1)])
    reads, outputs = bound_module._spectra(network)
    spectra = bound_module._scaled(network, reads, outputs, np.ones(2))
    assert proof.prove_steps(spectra) == math.inf
    assert proof.prove_sums(spectra, [np.ones(6)]) == []
    T = network_bound(network, WORK).multipliers
    assert proof.prove_steps(bound_module._scaled(network, reads, outputs, T)) >= 4


def test_errors_that_are_too_large_leave_no_proof():
    network = lumped(1, Readout.steps)
    reads, outputs = bound_module._spectra(network)
    T = network_bound(network, WORK).multipliers
    spectra = bound_module._scaled(network, reads, outputs, T)
    proved = proof.prove_steps(spectra)
    assert math.isfinite(proved)
    assert proof.prove_steps(dataclasses.replace(spectra, W_error=0.6)) == math.inf
    less_sure = dataclasses.replace(spectra, Z_error=1e-3)
    assert proof.prove_steps(less_sure) > proved


def test_what_is_too_large_says_so():
    found = network_bound(lumped(0, Readout.mean), 1e3)
    assert found.gain == math.inf
    assert found.reason.startswith("the network is too large")


# --- its parts ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 6), least=st.sampled_from([1e-9, -1e-9]))
def test_positive_matrices_are_told_from_others(seed, size, least):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))[0]
    values = np.concatenate([[least], 1 + rng.random(size - 1)])
    matrix = (Q * values) @ Q.conj().T
    assert is_positive(((matrix + matrix.conj().T) / 2)[None]) == (least > 0)


def exact_impulse(system: DiscreteDense, steps: int) -> np.ndarray:
    """C A^(t-1) B with 60 digits, rounded at the end."""
    with mpmath.workdps(60):
        A, B, C, D = (
            mpmath.matrix(t[0].tolist()) for t in (system.A, system.B, system.C, system.D)
        )
        out, state = [D], B
        for _ in range(steps - 1):
            out.append(C * state)
            state = A * state
        return np.array([[[float(x) for x in row] for row in h.tolist()] for h in out])


@pytest.mark.parametrize("kind", ["dense", "diagonal"])
def test_errors_of_responses_are_within_their_bounds(kind):
    pairs = diagonal(5, heads=1, states=3)
    dense = pairs.to_dense()
    given = dense if kind == "dense" else pairs
    x = Response.of_impulses(Enclosed(np.eye(1)), 30)
    found, exact = filtered(given, x), exact_impulse(dense, 30)
    missed = np.linalg.norm(found.values - exact, axis=1).sum(0)
    assert (missed <= found.errors).all()
    assert (found.errors < 1e-11).all()
    spectrum = transform(found)
    assert np.allclose(spectrum.values, np.fft.fft(exact, 59, axis=0)[:30], atol=1e-12)
    assert (spectrum.errors > found.errors).all()


def test_derivatives_are_those_of_the_barrier():
    network = lumped(2, Readout.mean)
    problem = bound_module._problem(network, *bound_module._spectra(network))
    T = multipliers.start(problem, [b.remainders for b in network.blocks])
    here = multipliers.Point.at(problem, T)
    assert here is not None
    slope, curvature = multipliers._derivatives(here)

    def moved(index: int, by: float) -> multipliers.Point:
        changed = np.concatenate([np.log(T), [math.log(here.g)]])
        changed[index] += by
        point = multipliers.Point.at(problem, np.exp(changed[:-1]), math.exp(changed[-1]))
        assert point is not None
        return point

    for index in range(len(slope)):
        ahead, behind = moved(index, 1e-4), moved(index, -1e-4)
        assert (ahead.barrier - behind.barrier) / 2e-4 == pytest.approx(slope[index], abs=1e-5)
        second = (multipliers._derivatives(ahead)[0] - multipliers._derivatives(behind)[0]) / 2e-4
        assert np.allclose(second, curvature[index], atol=1e-5)


def test_norms_of_enclosed_matrices_bound_those_of_the_true_ones():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))
    product = Enclosed(A, 0.1) @ Enclosed(B, 0.2)
    off = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))
    true = (A + 0.1 * off[0] / np.linalg.norm(off[0], 2)) @ (
        B + 0.2 * off[1] / np.linalg.norm(off[1], 2)
    )
    assert np.linalg.norm(true - product.value, 2) <= product.error
    assert np.linalg.norm(true, 2) <= product.norm
