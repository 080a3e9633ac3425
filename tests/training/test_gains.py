"""declared >= verified >= attacked: held by everything that is built in, and watched."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from ssmbench import registry
from ssmbench.analysis.certificate import IDENTITY, TOLERANCE
from ssmbench.config import AnalysisConfig
from ssmbench.nn.blocks.base import Residual
from ssmbench.nn.freeze import freeze
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.parametrizations.base import Parametrization
from ssmbench.results import Gains, LayerGains, NetworkGains
from ssmbench.scans.base import ScanBackend
from ssmbench.systems import ContinuousDiagonal, DiscreteDense
from ssmbench.training.adversary import attack_layer
from ssmbench.training.gains import measure_gains
from ssmbench.training.layer_analysis import poles
from ssmbench.training.monitor import layer_figures
from ssmbench.training.violations import violations
from tests.builders import build_block, build_layer, build_model, build_parametrization, build_scan

D_MODEL, LENGTH = 4, 40
CONFIG = AnalysisConfig(attack_steps=25, attack_restarts=4)
SMALL = {"d_state": 6, "dt_min": 0.05, "dt_max": 0.5}


def built_in(kind: registry.Registry) -> list[registry.Entry]:
    """Plugins of the folder that the tests run in make promises of their own."""
    return [e for e in kind.entries() if e.factory.__module__.startswith("ssmbench.")]


#: Every parametrization is paired with these; every other discretizer with one parametrization.
ALWAYS = ("zoh", "tustin", "forward_euler")


def pairings() -> list[tuple[str, str | None]]:
    others = [d for d in built_in(registry.discretizers) if d.name not in ALWAYS]
    pairs = [("s4d" if d.factory.samples(ContinuousDiagonal) else "linoss", d.name) for d in others]
    for entry in built_in(registry.parametrizations):
        if entry.factory.is_time_varying():  # nothing is verified: test_time_varying.py
            continue
        if not entry.factory.is_continuous():
            pairs.append((entry.name, None))
        else:
            pairs += [(entry.name, name) for name in ALWAYS]
    return pairs


def layer_of(name: str, discretizer: str | None, scan: str | ScanBackend = "auto") -> SSMLayer:
    return build_layer(build_parametrization(name, D_MODEL, **SMALL), discretizer, scan)


def network_of(*layers: SSMLayer, nonlinearity: str = "gelu") -> SequenceModel:
    blocks = [build_block(x, nonlinearity, D_MODEL) for x in layers]
    return build_model(blocks, inputs=1, d_model=D_MODEL, outputs=2, pooling=Pooling.mean)


def network(seed: int, name: str, discretizer: str | None, spread: float = 0.0) -> SequenceModel:
    """Two layers; parameters as initialised, moved as training might: by ``spread``."""
    torch.manual_seed(seed)
    model = network_of(layer_of(name, discretizer), layer_of(name, discretizer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return model


def signals(n: int = 3) -> torch.Tensor:
    return torch.randn(n, LENGTH, 1, generator=torch.Generator().manual_seed(7))


def measure(model: SequenceModel, inputs: torch.Tensor, config: AnalysisConfig) -> Gains:
    return measure_gains(model, inputs, config).gain


def sup_on_a_grid(layer: SSMLayer) -> float:
    """Largest singular value of the response on a grid, finest where the poles are near."""
    with torch.no_grad():
        system = layer.system().detach().double().to_dense()
    even = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)
    near = torch.linspace(-3, 3, 61, dtype=torch.float64)
    best = 0.0
    for A, B, C, D in zip(system.A, system.B, system.C, system.D, strict=True):
        to = torch.complex128
        poles = torch.linalg.eigvals(A)
        around = poles.angle()[:, None] + (1 - poles.abs())[:, None] * near
        z = torch.exp(1j * torch.cat([even, around.flatten()]))[:, None, None]
        resolvent = torch.linalg.inv(z * torch.eye(len(A)) - A.to(to))
        response = C.to(to) @ resolvent @ B.to(to) + D
        best = max(best, torch.linalg.matrix_norm(response, 2).max().item())
    return best


# --- what holds for everything built in -----------------------------------------------------------


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("name", "discretizer"), pairings())
def test_gains_are_ordered(name, discretizer, spread):
    model = network(3, name, discretizer, spread)
    found = measure(model, signals(), CONFIG)
    assert found.violations == ()
    for gains, layer in zip(found.layers, model.layers, strict=True):
        assert gains.attacked <= gains.verified * (1 + TOLERANCE)
        assert gains.declared is None or gains.verified <= gains.declared * (1 + TOLERANCE)
        assert gains.attacked > 0
        stable = gains.spectral_radius < 1
        assert math.isfinite(gains.verified) == stable
        if stable:
            grid = sup_on_a_grid(layer)
            assert grid * (1 - 1e-9) <= gains.verified <= grid * 1.005
    assert found.network.attacked <= found.network.bound * (1 + TOLERANCE)
    assert math.isfinite(found.network.bound) == (found.network.reason == "")


def test_the_pairings_cover_stable_and_unstable_systems():
    """Else the test above would promise less than it says."""
    radii = [
        max(p.abs().max().item() for p in poles(network(3, *pair, 0.5))) for pair in pairings()
    ]
    assert min(radii) < 1 < max(radii)


def test_figures_of_a_result_are_the_worst_of_the_layers():
    model = network(0, "s4d", "zoh")
    found = measure(model, signals(), CONFIG)
    for key in ("verified", "attacked", "spectral_radius"):
        assert getattr(found, key) == max(getattr(layer, key) for layer in found.layers)
    assert found.margin == min(layer.margin for layer in found.layers)
    figures = [layer_figures(x)["verified_gain"] for x in model.layers]
    assert found.verified == pytest.approx(max(figures), rel=1e-9)  # its proved lower end
    assert found.spectral_radius == max(p.abs().max().item() for p in poles(model))


def test_attack_comes_near_the_gain_over_the_length():
    from ssmbench.analysis.horizon import horizon_gain

    model = network(1, "s4d", "zoh")
    found = measure(model, signals(), AnalysisConfig())
    for layer, gains in zip(model.layers, found.layers, strict=True):
        exact = horizon_gain(layer.system(), LENGTH).max().item()
        assert 0.95 * exact <= gains.attacked <= exact * (1 + TOLERANCE)


def test_declared_is_none_where_a_layer_declares_nothing():
    torch.manual_seed(0)
    declaring, silent = layer_of("l2ru", None), layer_of("s4d", "zoh")
    assert measure(network_of(declaring, silent), signals(), CONFIG).declared is None
    found = measure(network_of(declaring), signals(), CONFIG)
    assert found.declared == pytest.approx(1.0)
    assert found.verified <= found.declared * (1 + TOLERANCE)


def test_measuring_changes_nothing():
    model = network(0, "s4d", "zoh").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    first = measure(model, signals(), CONFIG)
    assert torch.equal(torch.get_rng_state(), random)
    torch.rand(5)
    assert measure(model, signals(), CONFIG) == first
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not measure(model.eval(), signals(), CONFIG).violations
    assert not model.training


def test_dropout_is_off_while_the_network_is_attacked():
    model = network(0, "s4d", "zoh")
    quiet = measure(model, signals(), CONFIG)
    for block in model.blocks:
        block.dropout.p = 0.9
    assert measure(model.train(), signals(), CONFIG) == quiet


@pytest.mark.parametrize("restarts", [1, 2, 9])
def test_any_number_of_restarts(restarts):
    config = AnalysisConfig(attack_steps=3, attack_restarts=restarts)
    found = measure(network(0, "s4d", "zoh"), signals(), config)
    assert 0 < found.network.attacked <= found.network.bound


def test_signals_of_nothing_but_zeros():
    found = measure(network(0, "s4d", "zoh"), torch.zeros(2, LENGTH, 1), CONFIG)
    assert 0 < found.network.attacked <= found.network.bound


@pytest.mark.parametrize("name", ["s4d", "l2ru", "lru", "contraction"])
def test_attack_of_a_layer_finds_the_largest_singular_value_of_its_toeplitz_matrix(name):
    """scipy's impulse responses and singular values; the layer runs in float32."""
    torch.manual_seed(0)
    layer = layer_of(name, "zoh" if name == "s4d" else None)
    frozen = freeze(network_of(layer)).layers[0]
    found = attack_layer(frozen, LENGTH, AnalysisConfig())
    with torch.no_grad():
        dense = layer.system().double().to_dense()
    heads = zip(dense.A, dense.B, dense.C, dense.D, strict=True)
    exact = max(toeplitz_gain(*(m.numpy() for m in one)) for one in heads)
    assert 0.99 * exact <= found
    assert found <= exact * (1 + TOLERANCE)


def toeplitz_gain(A, B, C, D) -> float:
    _, response = scipy.signal.dimpulse((A, B, C, D, 1), n=LENGTH)
    blocks = np.stack(response, -1)  # (L, outputs, inputs)
    lag = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
    toeplitz = np.where((lag >= 0)[..., None, None], blocks[lag.clip(0)], 0.0)
    outputs, inputs = blocks.shape[1:]
    matrix = toeplitz.transpose(0, 2, 1, 3).reshape(LENGTH * outputs, LENGTH * inputs)
    return scipy.linalg.svdvals(matrix)[0]


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9])
def test_a_small_gain_under_a_large_bias_is_found(scale):
    """A decoder that is scaled scales the gain; in float32, biases of 1 hide the difference."""
    model = network(0, "s4d", "zoh")
    reference = measure(model, signals(), CONFIG).network.attacked
    with torch.no_grad():
        model.decoder.weight.mul_(scale)
        model.decoder.bias.fill_(1.0)
    found = measure(model, signals(), CONFIG).network
    assert found.attacked == pytest.approx(scale * reference, rel=0.02)
    assert found.attacked <= found.bound * (1 + TOLERANCE)


def test_network_in_double_precision():
    found = measure(network(0, "s4d", "zoh").double(), signals(), CONFIG)
    single = measure(network(0, "s4d", "zoh"), signals(), CONFIG)
    assert found.verified == pytest.approx(single.verified, rel=1e-4)
    assert found.violations == ()


def test_the_worst_input_reproduces_the_attacked_gain():
    model = network(0, "s4d", "zoh").eval()
    found = measure_gains(model, signals(), CONFIG)
    base, d = found.worst.base, found.worst.disturbance
    change = (model((base + d)[None]) - model(base[None])).norm() / d.norm()
    assert change.item() == pytest.approx(found.gain.network.attacked, rel=1e-3)


def test_moving_the_data_finds_more_than_silence_does():
    """tanh is steepest at 0, away from which the encoder's large bias holds the network."""
    torch.manual_seed(0)
    model = network_of(modest(None), nonlinearity="tanh")
    with torch.no_grad():
        model.encoder.bias.fill_(1.5)
        model.encoder.weight.fill_(-1.0)
    model.blocks[0].residual = Residual.none
    found = measure(model, signals(), AnalysisConfig()).network
    assert found.attacked > 2 * found.attacked_from_zero
    assert found.attacked <= found.bound * (1 + TOLERANCE)


def test_a_zero_state_gain_exists_where_nothing_comes_of_silence():
    model = network(0, "s4d", "zoh")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    found = measure(model, signals(), CONFIG).network
    assert found.zero_state == found.attacked_from_zero > 0
    assert found.zero_state_reason == ""


def test_with_biases_there_is_no_zero_state_gain_and_the_reason_is_said():
    found = measure(network(0, "s4d", "zoh"), signals(), CONFIG).network
    assert found.zero_state is None
    assert "||f(0)|| is" in found.zero_state_reason
    assert 0 < found.attacked_from_zero <= found.attacked


class SingleOnly(torch.nn.Module):
    """A plugin's part that cannot be run in double precision."""

    def forward(self, x):
        return x @ torch.eye(x.shape[-1], dtype=torch.float32)


def test_a_network_that_knows_float32_only_is_measured_in_it():
    model = network(0, "s4d", "zoh")
    exact = copy.deepcopy(model).double().eval()
    for block in model.blocks:
        block.mix = torch.nn.Sequential(block.mix, SingleOnly())
        block.bound = lambda gain: IDENTITY
    found = measure_gains(model, signals(), CONFIG)
    base, d = found.worst.base.double(), found.worst.disturbance.double()
    with torch.no_grad():
        disturbed, rest = exact((base + d)[None]), exact(base[None])
    reference = ((disturbed - rest).norm() / d.norm()).item()
    # the network is about sixteen operations deep, each of which rounds by a share of the outputs
    rounding = torch.finfo(torch.float32).eps * (disturbed.norm() + rest.norm()) / d.norm()
    assert abs(found.gain.network.attacked - reference) <= 16 * rounding.item()


# --- planted lies ---------------------------------------------------------------------------------


class Amplifying(ScanBackend):
    """A scan that is wrong by a factor of two."""

    def __init__(self):
        self.right = build_scan()

    def __call__(self, system, u, x0=None):
        y, final = self.right(system, u, x0)
        return 2 * y, final


class Modest(Parametrization):
    """y = 3 u, with a declared gain of choice."""

    system_type = DiscreteDense
    stable_by_construction = True
    no_discretizer_reason = "it has no dynamics"

    def __init__(self, declared: float | None):
        super().__init__()
        self.declared = declared

    def forward(self):
        zero = torch.zeros(1, D_MODEL, D_MODEL)
        return DiscreteDense(A=zero, B=zero, C=zero, D=3 * torch.eye(D_MODEL)[None])

    def declared_gain(self):
        return self.declared


def modest(declared: float | None) -> SSMLayer:
    return build_layer(Modest(declared))


@pytest.mark.parametrize("declared", [0.1, 2.9, 2.999])
def test_too_small_a_declaration_is_caught(declared):
    (sentence,) = measure(network_of(modest(declared)), signals(), CONFIG).violations
    assert sentence == f"layer 0: verified 3 > declared {declared:g}"


def prescribed(declared: float) -> SequenceModel:
    """A network of gain 5, if its layer's declaration is true."""
    options = {"mix": False, "residual": Residual.none, "bounded": True}
    part = build_block(modest(declared), "identity", D_MODEL, **options)
    sizes = {"inputs": 1, "d_model": D_MODEL, "outputs": 2, "pooling": Pooling.unit}
    return build_model([part], gamma=5.0, **sizes)


def test_a_network_built_on_a_false_declaration_is_caught_too():
    found = measure(prescribed(1.5), signals(), CONFIG)
    assert found.network.declared == 5.0
    assert found.network.product_bound == pytest.approx(10.0)
    assert found.network.bound <= found.network.product_bound
    assert "network: bound 10 > declared 5" in found.violations


def test_a_network_built_on_a_true_declaration_keeps_its_gamma():
    found = measure(prescribed(3.0), signals(), CONFIG)
    assert found.network.product_bound == pytest.approx(5.0)
    assert found.network.bound <= found.network.product_bound
    assert found.network.attacked <= 5.0 * (1 + 1e-9)
    assert found.violations == ()


@pytest.mark.parametrize("lost", ["encoder.weight", "decoder.weight", "blocks.0.share"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prescribed_network_that_diverged_is_measured_and_not_a_crash(lost, value):
    options = {"residual": Residual.convex, "bounded": True}
    part = build_block(modest(3.0), "identity", D_MODEL, **options)
    model = build_model([part], inputs=1, d_model=D_MODEL, outputs=2, gamma=5.0)
    with torch.no_grad():
        dict(model.named_parameters())[lost].fill_(value)
    network = measure(model, signals(), CONFIG).network
    assert network.bound == network.attacked == math.inf
    assert "not finite" in network.reason


@pytest.mark.parametrize("declared", [3.0, 100.0, math.inf, None])
def test_a_true_declaration_is_not_a_violation(declared):
    found = measure(network_of(modest(declared)), signals(), CONFIG)
    assert found.violations == ()
    assert found.declared == declared
    assert found.verified == pytest.approx(3.0)
    assert found.attacked == pytest.approx(3.0, rel=1e-5)


def test_a_scan_that_amplifies_is_caught():
    torch.manual_seed(0)
    model = network_of(layer_of("s4d", "zoh"), layer_of("s4d", "zoh", Amplifying()))
    found = measure(model, signals(), CONFIG).violations
    assert any("layer 1: attacked" in sentence and "verified" in sentence for sentence in found)
    assert not any("layer 0" in sentence for sentence in found)


def test_a_false_lipschitz_constant_is_caught(monkeypatch):
    model = network_of(modest(None), nonlinearity="identity")
    assert measure(model, signals(), CONFIG).violations == ()
    monkeypatch.setattr(type(model.blocks[0].nonlinearity), "lipschitz", 0.01)
    (sentence,) = measure(model, signals(), CONFIG).violations
    assert sentence.startswith("network: attacked")


def test_tolerance_of_a_violation():
    right = LayerGains(1.0, 1.0, 1.0, 0.0, 0.5, 0.5)
    network = NetworkGains(None, 1.0, "", 1.0)
    just, beyond = 1 + TOLERANCE / 2, 1 + 2 * TOLERANCE
    for field in ("verified", "attacked"):
        fine = dataclasses.replace(right, **{field: just})
        assert violations([fine], network) == []
        assert len(violations([dataclasses.replace(right, **{field: beyond})], network)) == 1
    assert violations([right], dataclasses.replace(network, attacked=just)) == []
    assert len(violations([right], dataclasses.replace(network, attacked=beyond))) == 1


def test_what_the_layers_proofs_leave_open_is_no_violation():
    """The figures of a trained network of four layers that declares a gain of 10."""
    layers = [LayerGains(1.0, 0.99999, 0.9996, 0.0, 0.98, 0.02, verified_bound=1.00004)] * 4
    composed = NetworkGains(10.0, 10 * 1.00004**4, "", 6.0)
    assert composed.bound > 10 * (1 + TOLERANCE)
    assert violations(layers, composed) == []
    beyond = dataclasses.replace(composed, bound=10 * 1.00005**4 * (1 + 2 * TOLERANCE))
    assert violations(layers, beyond) == [f"network: bound {beyond.bound:g} > declared 10"]


def test_infinities_are_not_violations_of_infinities():
    unbounded = NetworkGains(None, math.inf, "", math.inf)
    lost = LayerGains(None, math.inf, math.inf, 0.0, math.inf, -math.inf)
    assert violations([lost], unbounded) == []
    lying = dataclasses.replace(lost, declared=1.0)
    assert len(violations([lying], unbounded)) == 1


# --- no NaN, whatever the weights -----------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["encoder", "blocks.0.layer", "blocks.1.mix", "decoder"])
@pytest.mark.parametrize("name", ["s4d", "l2ru"])
def test_lost_weights_give_infinities(name, where, value):
    model = network(0, name, None if name == "l2ru" else "zoh")
    with torch.no_grad():
        for parameter in model.get_submodule(where).parameters():
            parameter.fill_(value)
    found = measure(model, signals(), CONFIG)
    assert not any(math.isnan(x) for x in numbers_in(found.to_dict()))
    assert found.violations == ()
    assert found.network.attacked == found.network.bound == math.inf
    assert found.network.reason
    assert not any(p.isnan().any() for p in poles(model))


@pytest.mark.parametrize("where", ["encoder", "blocks.0.layer", "blocks.1.mix", "decoder"])
def test_numbers_beyond_float32_break_no_promise(where):
    model = network(0, "s4d", "zoh")
    with torch.no_grad():
        for parameter in model.get_submodule(where).parameters():
            parameter.fill_(3e38)
    found = measure(model, signals(), CONFIG)
    assert not any(math.isnan(x) for x in numbers_in(found.to_dict()))
    assert found.violations == ()


def numbers_in(value) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers_in(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers_in(v)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize(("method", "kept"), [("tustin", True), ("bilinear", False)])
def test_what_the_continuous_system_promised_is_held_against_the_discretizer(method, kept):
    model = network(3, "contraction_continuous", method, spread=1.0)
    gain = measure(model, torch.randn(2, LENGTH, 1), CONFIG)
    promised = model.layers[0].parametrization.declared_gain()
    assert gain.promised == promised
    assert gain.declared == (promised if kept else None)
    assert (gain.verified <= promised * (1 + TOLERANCE)) == kept
    assert not gain.violations  # it was not the layer that promised


def test_only_a_bare_continuous_system_promises_before_sampling():
    for name, method in (("l2ru", None), ("s4d", "zoh")):
        gain = measure(network(3, name, method), torch.randn(2, LENGTH, 1), CONFIG)
        assert gain.promised is None
