"""S5's initial system against HiPPO-LegS as numpy sees it, and its step sizes."""

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.parametrizations.s5 import S5, S5Config, block_hippo, hippo_normal


def normal_part(n):
    """HiPPO-LegS (Gu et al. 2020, equation 2) entry by entry, and P P'."""
    A = np.zeros((n, n))
    for i in range(n):
        A[i, i] = -(i + 1)
        for j in range(i):
            A[i, j] = -np.sqrt((2 * i + 1) * (2 * j + 1))
    P = np.sqrt(np.arange(n) + 0.5)
    return A + np.outer(P, P)


@pytest.mark.parametrize("n", [2, 8, 64])
def test_eigenvalues_and_vectors_are_those_of_the_normal_part(n):
    lam, V = (t.numpy() for t in hippo_normal(n))
    expected = np.linalg.eigvals(normal_part(n))
    np.testing.assert_allclose(lam.real, -0.5, atol=1e-12)
    np.testing.assert_allclose(lam.imag, np.sort(expected.imag[expected.imag > 0]), rtol=1e-8)
    np.testing.assert_allclose(normal_part(n) @ V, V * lam, atol=1e-9 * n)
    np.testing.assert_allclose(V.conj().T @ V, np.eye(n // 2), atol=1e-12)


@pytest.mark.parametrize(("n", "blocks"), [(8, 1), (8, 2), (12, 3)])
def test_rotated_pairs_are_the_block_diagonal_system(n, blocks):
    """With B~ = V^-1 B and C~ = C V, pairs answer as the real system (A, B, C) does."""
    lam, V = block_hippo(n, blocks)
    A = torch.block_diag(*[torch.from_numpy(normal_part(n // blocks))] * blocks)
    B, C = torch.randn(n, 3).to(V.dtype), torch.randn(2, n).to(V.dtype)
    pairs = C @ V @ torch.diag(1 / (2j - lam)) @ V.mH @ B
    other = C @ V.conj() @ torch.diag(1 / (2j - lam.conj())) @ V.mT @ B
    whole = C @ torch.linalg.solve(2j * torch.eye(n) - A, B)
    torch.testing.assert_close(pairs + other, whole, rtol=1e-9, atol=1e-9)


def test_the_module_starts_there_scaled_by_a_step_size_of_each_state():
    torch.manual_seed(0)
    module = S5(S5Config(d_state=12, blocks=3, dt_min=0.01, dt_max=0.02), d_model=4)
    system = module()
    step = module.log_dt.exp()
    lam, _ = block_hippo(12, 3)
    torch.testing.assert_close((system.lam[0] / step).to(lam), lam, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        system.B[0], step[:, None] * torch.view_as_complex(module.B), rtol=1e-6, atol=0
    )
    assert ((step >= 0.01 * (1 - 1e-5)) & (step <= 0.02 * (1 + 1e-5))).all()
    assert len(step.unique()) == 6
    assert system.dt.item() == 1
    assert (system.heads, system.inputs, system.outputs, system.order) == (1, 4, 4, 12)


def test_zoh_is_the_papers_discretization_with_a_step_for_every_state():
    """lam_bar = e^(lam Delta), B_bar = lam^-1 (lam_bar - 1) B (equation 6)."""
    from ssmbench import registry

    torch.manual_seed(0)
    module = S5(S5Config(d_state=8, blocks=2), d_model=3).double()
    discrete = registry.discretizers.get("zoh").build()(module())
    lam = torch.complex(-module.log_decay.exp(), module.frequency)
    expected = torch.exp(lam * module.log_dt.exp())
    torch.testing.assert_close(discrete.lam[0], expected, rtol=1e-12, atol=0)
    B_bar = ((expected - 1) / lam)[:, None] * torch.view_as_complex(module.B)
    torch.testing.assert_close(discrete.B[0], B_bar, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"d_state": 5}, "multiple of 2"),
        ({"d_state": 0}, "positive"),
        ({"d_state": 8, "blocks": 3}, "blocks=3"),
        ({"blocks": 0}, "blocks=0"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "dt_min <= dt_max"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        S5(S5Config(**options), d_model=2)


def parameters(**options):
    """B and C, complex, of a layer with many numbers; the same seed for all options."""
    torch.manual_seed(0)
    module = S5(S5Config(d_state=64, **options), d_model=256)
    return torch.view_as_complex(module.B.detach()), torch.view_as_complex(module.C.detach())


@pytest.mark.parametrize(
    ("options", "B", "C"),
    [
        ({}, 256**-0.5, 64**-0.5),
        ({"B_init": "lecun_normal"}, 64**-0.5, 64**-0.5),
        ({"C_init": "trunc_standard_normal"}, 256**-0.5, (2 / 64) ** 0.5),
        ({"C_init": "lecun_normal"}, 256**-0.5, (2 / (64 * 256)) ** 0.5),
        ({"C_init": "complex_normal"}, 256**-0.5, 1.0),
    ],
)
def test_b_and_c_have_the_published_scales(options, B, C):
    """lindermanlab/S5 at 3c18fdb, s5/ssm.py and s5/ssm_init.py, with jax's lecun_normal: variance
    1 / fan_in, where the fan-in of (N, H) is N, of (1, N, 2) N, and of (H, N, 2) N H."""
    found = [value.abs().square().mean().sqrt().item() for value in parameters(**options)]
    assert found == pytest.approx([B, C], rel=0.03)


def test_published_c_is_complex_before_it_is_rotated_and_b_is_cut_off():
    _, V = block_hippo(64, 1)
    B, C = parameters(B_init="lecun_normal", C_init="trunc_standard_normal")
    # a real B is V V^-1 B and its conjugate; nothing of a normal number lies beyond the cut
    whole = 2 * (V @ B.to(V.dtype)).real
    assert whole.abs().max() <= 2 / 0.87962566 / 64**0.5 * 1.0001
    assert whole.std().item() == pytest.approx(64**-0.5, rel=0.03)
    assert C.imag.std().item() == pytest.approx(C.real.std().item(), rel=0.05)


def test_the_default_distributions_are_drawn_as_ever():
    B, C = parameters()
    torch.manual_seed(0)
    _, V = block_hippo(64, 1)
    expected = torch.randn(64, 256, dtype=torch.float64) / 16
    torch.testing.assert_close(B, (V.mH @ expected.to(V.dtype)).to(B.dtype), rtol=0, atol=0)
    expected = torch.randn(256, 64, dtype=torch.float64) / 8
    torch.testing.assert_close(C, (expected.to(V.dtype) @ V).to(C.dtype), rtol=0, atol=0)
