"""The published L2RU cell: DecodEPFL/SSM at 32fa0e4, src/neural_ssm/ssm/lti_cells.py, L2RU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.parametrizations.l2ru import L2RU, L2RUConfig
from ssmbench.testing import conform, randomise

N, EPSILON = 5, -5.0


def cell(module: L2RU, gamma: float) -> dict[str, Tensor]:
    """_compute_ssm without the jitter of 1e-6; sigmoid(alpha) times 1 - 1e-9, as here."""
    eye = torch.eye(N, dtype=torch.float64)
    X11, X22, Y = torch.tril(module.X11), torch.tril(module.X22), torch.triu(module.Y, 1)
    X21, C, Dt = module.X21, module.C, module.Dt
    Sk = Y - Y.T
    Qm = (eye - Sk) @ torch.linalg.inv(eye + Sk)
    Z = X21 @ X21.T + X22 @ X22.T + Dt.T @ Dt + math.exp(EPSILON) * eye
    share = torch.sigmoid(module.alpha) * (1 - 1e-9)
    beta = gamma**2 * share / torch.linalg.matrix_norm(Z, 2)
    H11 = X11 @ X11.T + C.T @ C + beta * math.exp(EPSILON) * eye
    H12 = torch.sqrt(beta) * (X11 @ X21.T + C.T @ Dt)
    V = Z * beta - gamma**2 * eye
    R = H12 @ torch.linalg.solve(V.T, H12.T)
    CR = torch.linalg.cholesky(-(R + R.T) / 2)
    CRH = torch.linalg.cholesky(H11 - (R + R.T) / 2)
    A = torch.linalg.inv(CRH).T @ Qm @ CR.T
    B = A @ torch.linalg.solve(H12.T, V.T)
    return {"A": A, "B": B, "C": C, "D": torch.sqrt(beta) * Dt}


@pytest.mark.parametrize("gamma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_parametrization_is_the_published_cell(gamma, seed):
    """Markov parameters, which do not depend on the states' coordinates, and their gradients."""
    torch.manual_seed(seed)
    module = L2RU(L2RUConfig(gamma=gamma, epsilon=EPSILON, published_Q=True), d_model=N)
    randomise(module, 1.0)
    module = module.double()
    system = module()
    found = {name: getattr(system, name)[0] for name in "ABCD"}
    markov = [markov_parameters(matrices) for matrices in (found, cell(module, gamma))]
    torch.testing.assert_close(*markov, rtol=1e-7, atol=1e-9)
    weights = torch.randn_like(markov[0])
    names = [name for name, p in module.named_parameters()]
    gradients = [
        torch.autograd.grad((m * weights).sum(), list(module.parameters())) for m in markov
    ]
    for name, here, there in zip(names, *gradients, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-7, msg=name)


def markov_parameters(system: dict[str, Tensor]) -> Tensor:
    """D, C B, C A B, ..."""
    x, rows = system["B"], [system["D"]]
    for _ in range(4):
        rows.append(system["C"] @ x)
        x = system["A"] @ x
    return torch.stack(rows)


def test_it_conforms():
    entry = registry.parametrizations.get("l2ru")
    conform(entry, config=L2RUConfig(published_Q=True))


def test_both_start_at_the_same_system():
    """M is diagonal there, up to the rounding of parameters to float32, amplified by V^-1/2."""
    systems = []
    for published in (False, True):
        torch.manual_seed(0)
        systems.append(L2RU(L2RUConfig(published_Q=published), d_model=N)())
    torch.testing.assert_close(systems[0].A, systems[1].A, rtol=0, atol=1e-4)


def test_a_singular_M_still_has_a_system_of_that_gain():
    module = L2RU(L2RUConfig(published_Q=True), d_model=N)
    with torch.no_grad():
        module.X11[-1] = 0
        module.C[:, -1] = 0
    system = module()
    assert system.is_finite()
    assert hinf_norm(system.detach().double()).norm.item() <= 1 + 1e-9
