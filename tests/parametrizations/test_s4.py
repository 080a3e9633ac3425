"""S4: the same system as a matrix and as a kernel, stable whatever its parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.analysis.markov import markov_parameters
from ssmbench.errors import UsageError
from ssmbench.parametrizations.hippo import Measure, matrices, rank
from ssmbench.parametrizations.s4 import S4, PairedBank, S4Config, initial_pairs, kernel
from ssmbench.testing import randomise
from tests.builders import build_layer

MEASURES = list(Measure)


def bilinear():
    return registry.discretizers.get("bilinear").build()


def build(measure: Measure = Measure.legs, d_state: int = 16, d_model: int = 3, seed: int = 0):
    torch.manual_seed(seed)
    return S4(S4Config(init=measure, rank=rank(measure), d_state=d_state), d_model=d_model)


def dense_kernel(bank: PairedBank, length: int) -> torch.Tensor:
    """The same Markov parameters from powers of the dense discrete matrix, in float64."""
    discrete = bilinear()(bank.to(torch.complex128).to_dense())
    return markov_parameters(discrete, length)[..., 0, 0]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    size = expected.abs().amax(1, keepdim=True)
    return ((found.double() - expected).abs() / size).max().item()


# --- the kernel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("length", [1, 2, 7, 100, 1025])
def test_kernel_is_that_of_the_dense_system(measure, length):
    bank = build(measure, d_state=64, d_model=4).bank()
    expected = dense_kernel(bank, length)
    found = kernel(bank, length)
    assert found.dtype == torch.float32
    assert found.shape == (4, length)
    assert relative_error(found, expected) < 1e-6
    assert relative_error(kernel(bank.to(torch.complex128), length), expected) < 1e-11


@given(
    half=st.integers(1, 6),
    columns=st.integers(1, 3),
    length=st.integers(1, 70),
    scale=st.floats(0.1, 4.0),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_kernel_of_any_bank_of_any_rank(half, columns, length, scale, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return scale * torch.randn(2, half, *shape, generator=generator, dtype=torch.complex128)

    lam = draw()
    bank = PairedBank(
        lam=torch.complex(-lam.real.abs() - 0.01, lam.imag),
        P=draw(columns),
        B=draw(),
        C=draw(),
        D=torch.randn(2, generator=generator, dtype=torch.float64),
        dt=torch.tensor([0.02, 0.5], dtype=torch.float64),
    )
    expected = dense_kernel(bank, length)
    assert relative_error(kernel(bank, length), expected) < 1e-8


def test_sums_in_single_precision_keep_four_digits():
    for measure in MEASURES:
        bank = build(measure, d_state=64).bank()
        found = kernel(bank, 512, dtype=torch.complex64)
        assert relative_error(found, dense_kernel(bank, 512)) < 1e-4, measure


def test_kernel_is_the_answer_to_an_impulse_and_starts_with_D():
    module = build()
    layer = build_layer(module, "bilinear", "reference")
    impulse = torch.zeros(1, 50, 3)
    impulse[:, 0] = 1
    found = kernel(module.bank(), 50)
    torch.testing.assert_close(layer(impulse)[0].T, found, atol=2e-5, rtol=0)
    torch.testing.assert_close(found[:, 0], module.D)


def test_gradients_of_the_kernel_are_those_of_the_dense_system():
    module = build(Measure.legt, d_state=8).double()
    weights = torch.linspace(-1, 1, 40, dtype=torch.float64)
    parameters = list(module.parameters())
    found = torch.autograd.grad((kernel(module.bank(), 40) * weights).sum(), parameters)
    dense = (dense_kernel(module.bank(), 40) * weights).sum()
    for (name, _), a, b in zip(
        module.named_parameters(), found, torch.autograd.grad(dense, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, msg=name)
        assert a.abs().max() > 0, name


# --- the system ---------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_it_starts_at_the_hippo_matrix(measure):
    """Responses agree with B' (i w - A)^-1 B; undamped normal parts start with decay 0.001."""
    module = build(measure, d_state=16, d_model=1)
    A, B = matrices(measure, 15 if measure is Measure.fout else 16)
    with torch.no_grad():
        module.C.copy_(module.B * torch.tensor([1, -1]))  # the conjugate of B
        module.D.zero_()
    omega = np.array([0.0, 0.3, 2.0, 9.0, 40.0])
    found = module().detach().double().frequency_response(torch.from_numpy(omega))[0, :, 0, 0]
    eye = np.eye(len(A))
    expected = [B @ np.linalg.solve(1j * w * eye - A, B) for w in omega]
    tolerance = 1e-5 if measure in (Measure.legs, Measure.lagt) else 5e-3
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance)


def test_the_dense_matrix_has_the_poles_of_the_structured_one():
    module = build(Measure.legt, d_state=6)
    randomise(module, 1.0)
    bank = module.bank().to(torch.complex128)
    lam = torch.cat([bank.lam, bank.lam.conj()], 1)
    P = torch.cat([bank.P, bank.P.conj()], 1)
    expected = torch.linalg.eigvals(torch.diag_embed(lam) - P @ P.mH)
    apart = (bank.to_dense().poles()[:, :, None] - expected[:, None]).abs()
    assert apart.amin(1).max() < 1e-9
    assert apart.amin(2).max() < 1e-9


@given(
    measure=st.sampled_from(MEASURES),
    d_state=st.sampled_from([2, 4, 16, 64]),
    log_scale=st.floats(-2, 1.3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_no_parameter_value_is_unstable(measure, d_state, log_scale, seed):
    """In float32 as returned, not only on paper: A + A' < 0, and the poles say so."""
    module = build(measure, d_state=d_state, d_model=2, seed=seed)
    randomise(module, 10**log_scale)
    system = module()
    assert system.A.dtype == torch.float32
    assert system.is_finite()
    assert system.detach().double().is_stable()
    A = system.A.detach().double()
    assert (torch.linalg.eigvalsh(A + A.mT) < 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_decays_of_all_sizes_at_once_are_stable(seed):
    """Next to a mode that decays at 1e11, eigenvalues in float64 are only known to 1e-5."""
    module = build(d_state=16, seed=seed)
    randomise(module, 1.0)
    with torch.no_grad():
        module.log_decay.copy_(torch.linspace(-25, 25, 8))
        module.P *= 1e-3
    A = module().A.detach().double()
    assert torch.linalg.eigvals(A).real.max() < 0
    assert (torch.linalg.eigvalsh(A + A.mT) < 0).all()


def test_the_least_decay_leaves_ordinary_ones_alone():
    module = build(d_state=64)
    torch.testing.assert_close(module.bank().lam.real, -module.log_decay.exp(), rtol=1e-5, atol=0)


def test_sizes_are_as_asked():
    for measure in MEASURES:
        system = build(measure, d_state=10, d_model=5)()
        assert (system.heads, system.states, system.inputs, system.outputs) == (5, 10, 1, 1)


def test_gradients_flow_through_a_layer():
    module = build(d_state=8)
    layer = build_layer(module, "bilinear", "cpu")
    layer(torch.randn(2, 30, 3)).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 2}, r"init=legs is normal plus rank 1, .* rank=2, which fits init=legt"),
        (
            {"init": Measure.legt},
            r"init=legt .* needs rank=2, got rank=1, which fits init=legs or lagt or fout",
        ),
        ({"init": Measure.fout, "rank": 3}, r"needs rank=1, got rank=3: no init fits that"),
        ({"d_state": 7}, "even"),
        ({"d_state": 0}, "positive"),
        ({"dt_min": 0.0}, "0 < dt_min"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        registry.parametrizations.get("s4").build(S4Config(**options), d_model=2)


def test_a_kernel_of_no_length_is_refused():
    with pytest.raises(UsageError, match="positive length"):
        kernel(build().bank(), 0)


def test_unfit_options_are_refused_from_the_command_line(ssmbench, write, tiny):
    tiny["model"]["parametrization"] = {"name": "s4", "init": "legt", "d_state": 4}
    answer = ssmbench("run", write("run.yaml", tiny))
    assert answer.code == 2
    assert "needs rank=2" in answer.err


def test_timescales_are_log_uniform_per_head():
    dt = S4(S4Config(d_state=2, dt_min=0.01, dt_max=0.02), d_model=64)().dt
    assert dt.min() >= 0.01 * (1 - 1e-5)
    assert dt.max() <= 0.02 * (1 + 1e-5)
    assert math.log(dt.max().item() / dt.min().item()) > 0.5


def test_clip_B_starts_as_the_published_code():
    """state-spaces/s4 at e757cef, src/models/hippo/hippo.py, nplr: of a mode, which is defined up
    to its sign, B and P together; the published modes are the conjugates of those here."""
    A, B = (torch.from_numpy(m) for m in matrices(Measure.legs, 16))
    P = torch.sqrt(0.5 + torch.arange(16, dtype=torch.float64))
    AP = A + P[:, None] * P
    V = torch.linalg.eigh(AP * -1j)[1][:, :8]
    B, P = V.mH @ B.to(V), V.mH @ P.to(V)
    B = B.real + 1j * torch.clamp(B.imag, min=-2.0, max=2.0)
    start = S4(S4Config(d_state=16, clip_B=True), d_model=2).bank()
    found = (start.B.conj() * start.P[..., 0])[0]
    torch.testing.assert_close(found.to(B), (B * P.conj()).flip(0), rtol=1e-5, atol=1e-5)
    free = S4(S4Config(d_state=16), d_model=2).bank()
    torch.testing.assert_close(
        free.B[0].to(B), initial_pairs(Measure.legs, 16)[2], rtol=1e-6, atol=0
    )
    assert bool((free.B.imag.abs() > 2).any())


def test_windows_are_half_of_the_published_ones():
    """state-spaces/s4 at e757cef, src/models/hippo/hippo.py, transition: legt, and fout without
    its sine of frequency 0, which is no state here."""
    two, pi, a, b, c = math.sqrt(2), math.pi, math.sqrt(3), math.sqrt(5), math.sqrt(15)
    legt = 0.5 * np.array([[-1, a, -b], [-a, -3, c], [-b, -c, -5]])
    fout = np.array([[-1, -two, 0], [-two, -2, -pi], [0, pi, 0]])
    np.testing.assert_allclose(matrices(Measure.legt, 3)[0], 2 * legt, rtol=1e-12)
    np.testing.assert_allclose(matrices(Measure.fout, 3)[0], 2 * fout, rtol=1e-12)
