"""Signals that are not sampled evenly: a time step for every sample."""

from __future__ import annotations

import itertools
import math

import jaxtyping
import pytest
import torch
from scipy.linalg import expm

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.systems import ContinuousDiagonal, at_steps
from tests.builders import (
    build_block,
    build_discretizer,
    build_layer,
    build_model,
    build_scan,
    discretizer_for,
)

WIDTH, LENGTH = 3, 20
DIAGONAL = ["s4d", "unconstrained_diagonal", "selective"]
#: Those that integrate any system: oscillators are not diagonal, so have no steps of their own.
METHODS = [e.name for e in registry.discretizers if e.factory.samples(ContinuousDiagonal)]


def layer_of(name: str, discretizer: str | None = "zoh", normaliser: str | None = None) -> SSMLayer:
    layer = build_layer(name, discretizer, normaliser=normaliser, d_model=WIDTH, seed=0)
    return layer.double()


def signal(length: int = LENGTH) -> torch.Tensor:
    return torch.randn(2, length, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DIAGONAL)
def test_steps_of_one_change_nothing(name, method):
    layer, u = layer_of(name, method), signal()
    ones = torch.ones(2, LENGTH, dtype=torch.float64)
    torch.testing.assert_close(layer(u, ones), layer(u), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", DIAGONAL)
def test_gradients_reach_every_parameter_and_the_steps(name):
    layer = layer_of(name)
    dt = (0.5 + torch.rand(2, LENGTH, dtype=torch.float64)).requires_grad_()
    layer(signal(), dt).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    assert bool((dt.grad[:, :-1] != 0).any())
    assert bool((dt.grad[:, -1] == 0).all())  # from the last sample there is no next


def test_uneven_samples_of_a_held_input_see_the_exact_states():
    """An input that changes seldom, sampled often and seldom: the same outputs at common times,
    and those of the matrix exponential."""
    layer = layer_of("s4d")
    levels = torch.randn(1, 5, WIDTH, dtype=torch.float64)  # held for 4 units each
    often = layer(levels.repeat_interleave(4, 1))
    seldom = layer(levels, torch.full((1, 5), 4.0, dtype=torch.float64))
    steps = torch.tensor([[1.5, 2.5, 0.25, 3.75, 4, 1, 1, 2, 4]], dtype=torch.float64)
    held = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 4])
    uneven = layer(levels[:, held], steps)
    torch.testing.assert_close(seldom, often[:, ::4], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(uneven[:, [0, 2, 4, 5, 8]], often[:, ::4], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        seldom[0, :, 0], exact(layer, levels[0, :, 0], 4.0), rtol=1e-9, atol=0
    )


def exact(layer: SSMLayer, levels: torch.Tensor, hold: float) -> torch.Tensor:
    """The outputs of copy 0 at the ends of intervals, by the exponential of the dense system."""
    dense = layer.parametrization().head(0).detach().to_dense()
    A, B, C, D = (t[0].numpy() for t in (dense.A, dense.B, dense.C, dense.D))
    n, joint = len(A), torch.zeros(len(A) + 1, len(A) + 1, dtype=torch.float64).numpy()
    joint[:n, :n], joint[:n, n:] = A, B
    step = expm(joint * hold * dense.dt.item())
    x, outputs = 0 * B, []
    for level in levels.detach().tolist():
        outputs.append((C @ x + D * level).item())
        x = step[:n, :n] @ x + step[:n, n:] * level
    return torch.tensor(outputs, dtype=torch.float64)


@pytest.mark.parametrize(("name", "order"), [("forward_euler", 1), ("bilinear", 2), ("tustin", 1)])
def test_order_of_convergence_over_uneven_steps(name, order):
    """As the discretizer's docstring says, Tustin's is lost where the step varies."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    dt = torch.ones(1, dtype=torch.float64)
    system = ContinuousDiagonal(lam=-one[0], B=one, C=one, D=0 * one, dt=dt)
    errors = []
    for steps in (64, 128, 256):
        pattern = torch.tensor([0.5, 1.5], dtype=torch.float64).repeat(steps // 2)
        uneven = at_steps(system, pattern[None] / steps)
        discrete = build_discretizer(name)(uneven)
        u = torch.ones(1, steps, 1, 1, dtype=torch.float64)
        y, _ = build_scan("reference")(discrete, u)
        times = torch.cumsum(pattern, 0)[:-1] / steps
        errors.append((y[0, 1:, 0, 0] - (1 - torch.exp(-times))).abs().max().item())
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([order] * 2, abs=0.1)


def test_selective_steps_are_multiplied():
    layer, u = layer_of("selective"), signal()
    factors = 0.5 + torch.rand(2, LENGTH, dtype=torch.float64)
    system = layer.parametrization(u)
    wanted = torch.exp(system.lam * (system.dt * factors[..., None])[..., None])
    torch.testing.assert_close(layer.system_for(u, factors).lam, wanted)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("l2ru", None), "dt: L2RU has no step size: "),
        (("unconstrained_dense", "zoh"), "dt: UnconstrainedDense gives a dense system"),
        (("linoss", "symplectic_euler"), "dt: LinOSS gives oscillators; non-uniform sampling"),
        (("s4d", "zoh", "hinf"), "dt: S4D has a normaliser, whose bound holds for uniform"),
    ],
)
def test_systems_without_steps_of_their_own_refuse(arguments, says):
    layer = layer_of(*arguments)
    with pytest.raises(UsageError, match=says) as caught:
        layer(signal(), torch.ones(2, LENGTH))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=says):
        layer.check_uneven()


@pytest.mark.parametrize(
    ("dt", "says"),
    [
        (torch.zeros(2, LENGTH), "dt must be positive and finite"),
        (torch.full((2, LENGTH), math.inf), "dt must be positive and finite"),
        (torch.full((2, LENGTH), math.nan), "dt must be positive and finite"),
    ],
)
def test_steps_that_cannot_be_are_refused(dt, says):
    with pytest.raises(UsageError, match=says):
        layer_of("s4d")(signal(), dt)


def test_steps_of_another_shape_are_refused(monkeypatch):
    """By the layer itself: shapes in annotations are checked in tests only, and before it."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    layer, u = layer_of("s4d"), signal()
    with pytest.raises(UsageError, match=r"dt must be \(B, L\) = \(2, 20\), got \(2, 21\)"):
        layer(u, torch.ones(2, LENGTH + 1))


def model_of(name: str, gamma: float | None = None) -> SequenceModel:
    layer = layer_of(name, discretizer_for(name))
    block = build_block(layer, "gelu", WIDTH, bounded=gamma is not None)
    sizes = {"inputs": 2, "d_model": WIDTH, "outputs": 4}
    return build_model([block], pooling=Pooling.mean, gamma=gamma, **sizes).double()


def test_network_passes_the_steps_on():
    model, u = model_of("s4d"), torch.randn(2, LENGTH, 2, dtype=torch.float64)
    dt = 0.5 + torch.rand(2, LENGTH, dtype=torch.float64)
    features = model.blocks[0](model.encoder(u), dt=dt)
    torch.testing.assert_close(model(u, dt=dt), model.decoder.read(features.mean(1)))
    assert not torch.allclose(model(u, dt=dt), model(u))


def test_network_with_a_certificate_refuses_steps():
    model = model_of("l2ru", gamma=3.0)
    with pytest.raises(UsageError, match=r"dt: the certificate of model\.gamma holds for uniform"):
        model(torch.randn(2, LENGTH, 2).double(), dt=torch.ones(2, LENGTH))
    with pytest.raises(UsageError, match=r"dt: the certificate of model\.gamma"):
        model.check_uneven()
    for name in DIAGONAL:
        model_of(name).check_uneven()


def test_selective_network_has_no_certificate_and_says_why():
    bound = model_of("selective").bound([None], LENGTH)
    assert not bound.finite
    assert "selectivity has no global Lipschitz constant" in bound.reason
    with pytest.raises(
        UsageError, match=r"model\.gamma: no finite certificate because an SSM layer"
    ):
        model_of("selective", gamma=3.0)


def test_time_steps_in_the_padding_change_nothing():
    model, u = model_of("s4d"), torch.randn(2, LENGTH, 2, dtype=torch.float64)
    dt, lengths = 0.5 + torch.rand(2, LENGTH, dtype=torch.float64), torch.tensor([LENGTH, 4])
    spoiled = dt.clone()
    spoiled[1, 4:] = -1.0
    assert torch.equal(model(u, lengths, dt), model(u, lengths, spoiled))


def test_a_held_layer_takes_no_steps_of_its_own():
    layer, u = layer_of("s4d"), signal()
    layer.hold(layer.system())
    with pytest.raises(UsageError, match="is frozen with the system of uniform sampling"):
        layer(u, torch.ones(2, LENGTH))
