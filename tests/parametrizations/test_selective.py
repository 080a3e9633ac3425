"""The selective parametrization against Mamba's algorithm 2, written out in NumPy loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.parametrizations.selective import Selective, SelectiveConfig
from ssmbench.systems import Readout
from tests.builders import build_layer

WIDTH, STATES, LENGTH = 5, 3, 12


def layer_of(**options) -> SSMLayer:
    torch.manual_seed(0)
    config = SelectiveConfig(**{"d_state": STATES, "dt_rank": 2, "dt_min": 0.1} | options)
    layer = build_layer(Selective(config, d_model=WIDTH), "zoh")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer.double()


def algorithm_2(layer: SSMLayer, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y[k] = C[k] x[k] + D u[k] with the state before input k, and C[k] x[k+1] as published;
    u (L, H)."""
    p = {k: v.detach().numpy() for k, v in layer.parametrization.named_parameters()}
    rank, x = p["dt_weight"].shape[1], np.zeros((WIDTH, STATES))
    A, before, after = -np.exp(p["log_A"]), [], []
    for row in u:
        low, B, C = np.split(p["to_dt_B_C"] @ row, [rank, rank + STATES])
        dt = np.log1p(np.exp(p["dt_weight"] @ low + p["dt_bias"]))[:, None]
        before.append(x @ C + p["D"] * row)
        x = np.exp(dt * A) * x + (np.exp(dt * A) - 1) / A * B * row[:, None]  # zero-order hold
        after.append(x @ C + p["D"] * row)
    return np.array(before), np.array(after)


def test_output_is_that_of_the_algorithm_with_the_state_before_the_input():
    layer = layer_of()
    u = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    found = layer(u).detach().numpy()
    for b in range(2):
        before, after = algorithm_2(layer, u[b].numpy())
        np.testing.assert_allclose(found[b], before, atol=1e-12)
        assert np.abs(found[b] - after).max() > 1e-2  # the departure that the module names


def selective_scan_ref(layer: SSMLayer, u: np.ndarray, dt: np.ndarray) -> np.ndarray:
    """state-spaces/mamba at e9594ce, mamba_ssm/ops/selective_scan_interface.py: deltaA = exp(delta
    A), deltaB_u = delta B u, y = C x + D u with x after the input; ``dt`` (L,) times delta."""
    p = {k: v.detach().numpy() for k, v in layer.parametrization.named_parameters()}
    rank, x = p["dt_weight"].shape[1], np.zeros((WIDTH, STATES))
    A, outputs = -np.exp(p["log_A"]), []
    for row, factor in zip(u, dt, strict=True):
        low, B, C = np.split(p["to_dt_B_C"] @ row, [rank, rank + STATES])
        delta = factor * np.log1p(np.exp(p["dt_weight"] @ low + p["dt_bias"]))[:, None]
        x = np.exp(delta * A) * x + delta * B * row[:, None]
        outputs.append(x @ C + p["D"] * row)
    return np.array(outputs)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_with_eulers_input_and_the_state_after_it_is_mamba_as_published(rate):
    layer = layer_of(euler_input=True)
    layer.readout, layer.rate = Readout.after, rate
    u, dt = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64), 0.5 + torch.rand(2, LENGTH).double()
    for steps in (None, dt):
        found = layer(u, steps).detach().numpy()
        for b in range(2):
            factors = rate * (torch.ones_like(dt) if steps is None else dt)[b].numpy()
            expected = selective_scan_ref(layer, u[b].numpy(), factors)
            np.testing.assert_allclose(found[b], expected, rtol=1e-12, atol=1e-12)


def test_eulers_input_trains_and_is_refused_for_methods_that_change_the_output():
    layer = layer_of(euler_input=True)
    u = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    layer(u).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in layer.parameters())
    with pytest.raises(UsageError, match=r"Tustin changes C and D with B.*keeps C and D"):
        build_layer(layer.parametrization, "tustin")(u)


def test_causal_and_sequences_apart():
    layer = layer_of()
    u = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    changed = u.clone()
    changed[0, 7:] += 1
    torch.testing.assert_close(layer(changed)[0, :7], layer(u)[0, :7], rtol=0, atol=1e-14)
    torch.testing.assert_close(layer(changed)[1], layer(u)[1], rtol=0, atol=1e-14)
    assert not torch.allclose(layer(changed)[0, 7:], layer(u)[0, 7:])


def test_gradients_are_those_of_finite_differences():
    layer = layer_of()
    u = torch.randn(1, 6, WIDTH, dtype=torch.float64, requires_grad=True)
    parameters = list(layer.parameters())
    direction = [torch.randn_like(t) for t in (u, *parameters)]
    gradients = torch.autograd.grad(layer(u).square().sum(), (u, *parameters))
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def at(step: float) -> float:
        with torch.no_grad():
            for parameter, d in zip(parameters, direction[1:], strict=True):
                parameter += step * d
            value = layer(u + step * direction[0]).square().sum().item()
            for parameter, d in zip(parameters, direction[1:], strict=True):
                parameter -= step * d
        return value

    measured = (at(1e-6) - at(-1e-6)) / 2e-6
    assert slope.item() == pytest.approx(measured, rel=1e-7)


def test_gain_grows_with_the_input():
    """Why no gain is declared: no constant bounds it."""
    layer = layer_of()
    u = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    gains = [(layer(s * u).norm() / (s * u).norm()).item() for s in (1, 100, 10_000)]
    assert gains[2] > 10 * gains[1] > 100 * gains[0]
    assert layer.declared_gain() is None


def test_initial_steps_and_poles():
    torch.manual_seed(0)
    module = Selective(SelectiveConfig(dt_min=0.01, dt_max=0.2), d_model=400)
    system = module(torch.zeros(1, 1, 400))
    assert 0.01 <= system.dt.min() < 0.012
    assert 0.17 < system.dt.max() <= 0.2001
    torch.testing.assert_close(system.lam[0, 0, 7], -torch.arange(1.0, 17))
    assert module.rank == 25


def test_double_input_and_half_input():
    layer = layer_of().float()
    u = torch.randn(2, LENGTH, WIDTH)
    assert layer(u.double()).dtype == torch.float64
    assert layer(u.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(u), layer(u).float())
        assert layer(u).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"d_state": 0}, "parametrization selective: d_state: must be positive, got 0"),
        ({"dt_rank": -1}, "dt_rank: must be finite and not negative, got -1"),
        ({"dt_min": 0.5, "dt_max": 0.1}, "needs 0 < dt_min <= dt_max"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        registry.parametrizations.get("selective").build(SelectiveConfig(**options), d_model=4)


def test_normaliser_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="takes no normaliser: time-varying") as caught:
        build_layer("selective", "zoh", normaliser="hinf")
    assert "model.normaliser=null" in str(caught.value)


def test_no_system_without_an_input():
    with pytest.raises(UsageError, match="Selective has no system without an input: time-varying"):
        layer_of().system()
