"""Whole LinOSS networks against the equations of tk-rusch/linoss at 83e6318: models/LinOSS.py, and
the optimizer of train.py; Rusch and Rus 2024, arXiv 2410.03943, equations 2 to 5.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.builders import build_parametrization
from tests.published.parity import BATCH, LENGTH, Rates, Values, check_parity, count, network_of
from tests.published.test_s5_network import gelu

LAYERS, H, M = 2, 6, 4  # M: ssm_dim, complex oscillators

NORM = {
    "name": "batch",
    "affine": False,
    "variance": "biased",
    "training": "running",
    "momentum": 0.01,
}


def linoss(p: Values, u: Tensor, discretization: str) -> Tensor:
    """The recurrence of z (velocities) and y (positions), both complex, matrix by matrix."""
    a, step = torch.relu(p["A_diag"]), torch.sigmoid(p["steps"])
    B, C = (p[k][..., 0] + 1j * p[k][..., 1] for k in ("B", "C"))
    z = y = torch.zeros(len(u), M, dtype=B.dtype)
    outputs = []
    for now in (u.to(B.dtype) @ B.mT).unbind(1):
        if discretization == "IM":
            schur = 1 / (1 + step**2 * a)
            z, y = (
                (1 - step**2 * a * schur) * (z + step * now) - step * a * schur * y,
                step * schur * (z + step * now) + schur * y,
            )
        else:
            z = z - step * a * y + step * now
            y = y + step * z
        outputs.append((y @ C.mT).real)
    return torch.stack(outputs, 1) + p["D"] * u


def statement(discretization: str):
    """The first batch: equinox's running averages begin as the statistics of that batch."""

    def logits(values: Values, u: Tensor, training: bool) -> Tensor:
        x = u @ values["encoder"].mT + values["encoder_bias"]
        for index in range(LAYERS):
            prefix = f"{index}."
            p = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            mean = x.mean((0, 1))
            variance = (x - mean).square().mean((0, 1))
            g = gelu(linoss(p, (x - mean) / (variance + 1e-5).sqrt(), discretization))
            gate = torch.sigmoid(g @ p["w2"].mT + p["w2_bias"])
            x = x + (g @ p["w1"].mT + p["w1_bias"]) * gate
        return x.mean(1) @ values["decoder"].mT + values["decoder_bias"]

    return logits


def published(network) -> Values:
    """The network's parameters by the names of the published code. The running averages are begun
    anew, as for the first batch."""
    values = {
        "encoder": network.encoder.weight,
        "encoder_bias": network.encoder.bias,
        "decoder": network.decoder.weight,
        "decoder_bias": network.decoder.bias,
    }
    for index, block in enumerate(network.blocks):
        block.norm.started = torch.tensor(False)
        own, linear = block.layer.parametrization, block.nonlinearity.linear
        layer = {"A_diag": own.stiffness, "steps": own.step, "B": own.B, "C": own.C, "D": own.D}
        layer |= dict(zip(("w1", "w2"), linear.weight.split(H), strict=True))
        layer |= dict(zip(("w1_bias", "w2_bias"), linear.bias.split(H), strict=True))
        values |= {f"{index}.{key}": value for key, value in layer.items()}
    return values


def model(discretizer: str) -> dict:
    return {
        "parametrization": {
            "name": "linoss",
            "d_state": 4 * M,
            "constraint": "relu",
            "complex_matrices": True,
            "published_groups": True,
        },
        "discretizer": discretizer,
        "d_model": H,
        "n_layers": LAYERS,
        "norm": NORM,
        "nonlinearity": {"name": "glu", "gelu": "tanh"},
        "mix": False,
        "readout": "after",
    }


@pytest.mark.parametrize(
    ("discretization", "discretizer"), [("IM", "backward_euler"), ("IMEX", "symplectic_euler")]
)
def test_a_config_is_the_published_network(discretization, discretizer):
    network, optimizer = network_of(model(discretizer), {"weight_decay": 0.0})
    assert network.parameter_count() == count(published(network))
    rates = Rates(decay=0.0)
    check_parity(network, optimizer, published, statement(discretization), lambda name: rates)


def test_later_batches_are_normalised_by_equinoxs_running_averages():
    """0.99 times the average so far and 0.01 times the batch's; gradients through the batch's."""
    network, _ = network_of(model("symplectic_euler"), {})
    norm = network.blocks[0].norm.train()
    first, second = torch.randn(2, BATCH, LENGTH, H, dtype=torch.float64)
    norm(first)
    x = (2 + 3 * second).requires_grad_()
    found = norm(x)
    mean = 0.99 * first.mean((0, 1)) + 0.01 * x.mean((0, 1))
    spread = x.var((0, 1), unbiased=False)
    variance = 0.99 * first.var((0, 1), unbiased=False) + 0.01 * spread
    expected = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(x)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.eval()(first), (first - mean) / (variance + 1e-5).sqrt())


def test_complex_matrices_are_real_ones_of_twice_the_oscillators():
    """With real B and C as the real parts, the real form is the complex one without its imaginary
    parts."""
    torch.manual_seed(0)
    whole = build_parametrization("linoss", 3, d_state=8, complex_matrices=True)
    half = build_parametrization("linoss", 3, d_state=4)
    with torch.no_grad():
        for name in ("stiffness", "step", "D"):
            getattr(half, name).copy_(getattr(whole, name))
        for name in ("B", "C"):
            getattr(whole, name)[..., 1] = 0
            getattr(half, name).copy_(getattr(whole, name)[..., 0])
    points = torch.tensor([[0.3 + 1j, 2.0 + 0j]], dtype=torch.cdouble)
    torch.testing.assert_close(
        whole.double()().response(points), half.double()().response(points), rtol=1e-12, atol=0
    )
