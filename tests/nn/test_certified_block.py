"""The certified block: its gain is that of its layer, and a path beside it selects."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.analysis.certificate import GainClaim
from ssmbench.build.network import build_network
from ssmbench.config import AnalysisConfig, RunConfig, resolve_model
from ssmbench.errors import UsageError
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.testing import randomise
from ssmbench.training.gains import measure_gains
from tests.builders import build_nonlinearity

WIDTH, LENGTH, VOCABULARY = 6, 12, 5
CONFIG = AnalysisConfig(attack_steps=25, attack_restarts=4)
SELECTIVE = {"name": "contraction_selective", "d_state": 3}
L2RU = {"name": "l2ru", "gamma": 0.5}
WITHOUT_BIAS = {"name": "per_step", "bias": False}


def network(parametrization: dict = SELECTIVE, seed: int = 0, **model) -> SequenceModel:
    torch.manual_seed(seed)
    given = {
        "d_model": WIDTH,
        "n_layers": 2,
        "encoder": {"name": "embedding", "unit_norm": True},
        "decoder": {"name": "per_step", "bias": False},
        "block": "certified",
        "parametrization": parametrization,
        "gamma": 10.0,
    }
    config = RunConfig(model=resolve_model({**given, **model}, "test"))
    sizes = TaskSizes(Tokens(VOCABULARY), 3, length=LENGTH, per_step=True)
    return build_network(config, sizes).eval()


def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (3, LENGTH), generator=torch.Generator().manual_seed(1))


def test_a_selective_network_keeps_its_zero_state_gain():
    found = measure_gains(network(), tokens(), CONFIG).gain
    assert found.network.claim == "zero-state"
    assert found.network.zero_state_bound == pytest.approx(10, rel=1e-5)
    assert 0 < found.network.zero_state <= 10
    assert "gate of a certified block" in found.network.reason
    assert [layer.claim for layer in found.layers] == ["zero-state"] * 2
    assert all(0 < layer.attacked <= 1 for layer in found.layers)
    assert found.violations == ()
    assert "proved for all parameter values" in found.note


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_gain_holds_for_any_parameters(scale):
    model = network()
    randomise(model, scale)
    x = torch.randn(8, LENGTH, WIDTH)
    with torch.no_grad():
        y = model.from_encoded(x)
    assert (y.flatten(1).norm(dim=1) <= 10 * (1 + 1e-5) * x.flatten(1).norm(dim=1)).all()


def test_the_path_selects_by_every_channel_and_by_earlier_steps():
    """Also by the passing channels, and by the three steps before."""
    block = network().blocks[0].double()
    with torch.no_grad():
        block.last.zero_()
        block.first.zero_()
    x = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4, 0] += 1.0  # a channel that passes
    difference = (block(changed) - block(x))[0, :, WIDTH // 2 :].norm(dim=-1)
    assert (difference[:4] == 0).all()
    assert (difference[4:8] > 0).all()


def test_time_invariant_layers_have_a_zero_state_claim_with_the_gate_and_both_without():
    gated, free = (network(L2RU, block={"name": "certified", "gate": g}) for g in (True, False))
    assert (gated.gain_claim, free.gain_claim) == (GainClaim.zero_state, GainClaim.incremental)
    gains = [0.5, 0.5]
    assert gated.zero_state_bound(gains, LENGTH).value == pytest.approx(10, rel=1e-5)
    assert gated.bound(gains, LENGTH).value == math.inf
    assert free.bound(gains, LENGTH).value == pytest.approx(10, rel=1e-5)
    assert not any("path_norm" in name for name, _ in free.named_parameters())


def test_the_bound_of_a_block_is_at_least_that_of_the_passing_half():
    block = network({"name": "l2ru", "gamma": 3.0}, gamma=None).blocks[0]
    assert block.zero_state_bound(0.1).value == pytest.approx(1, rel=1e-6)
    assert block.zero_state_bound(3.0).value == pytest.approx(3, rel=1e-6)
    assert "not finite" in _broken(block).zero_state_bound(3.0).reason


def _broken(block):
    with torch.no_grad():
        block.first.fill_(math.nan)
    return block


def test_a_layer_that_selects_by_its_input_takes_no_path():
    model = network(block={"name": "certified", "selection": "input"})
    layer = model.layers[0]
    assert layer.parametrization.d_selection is None
    assert model(tokens()).isfinite().all()
    with pytest.raises(UsageError, match="selects by the layer's input, and takes no selection"):
        layer(torch.zeros(1, 2, 3), None, torch.zeros(1, 2, 6))
    chosen = network().layers[0]
    with pytest.raises(UsageError, match=r"must have the shape \(1, 2, 6\), got None"):
        chosen(torch.zeros(1, 2, 3))


def test_mamba_selects_by_the_path_too():
    model = network({"name": "selective", "d_state": 3}, discretizer="zoh", gamma=None)
    assert model.layers[0].parametrization.d_selection == WIDTH
    found = measure_gains(model, tokens(), CONFIG).gain
    assert found.declared is None
    assert found.network.zero_state_bound is None


def test_biases_are_refused_with_the_option_that_removes_them():
    with pytest.raises(UsageError, match=r"the decoder PerStep may not; set model.decoder.bias"):
        network(decoder="per_step")


def test_unit_norm_embeddings_have_unit_rows():
    x = network().encode(tokens())
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, LENGTH))


def signals_network(nonlinear: str, nonlinearity: str = "cayley", gate: bool = False, **model):
    """Of signals of one channel, with time-invariant layers and a prescribed gain."""
    chosen = {"name": "certified", "gate": gate, "nonlinear": nonlinear}
    biases = {"decoder": {"name": "per_step", "bias": True}}
    return network(
        {"name": "contraction", "d_state": 4, "gamma": 3.0},
        block=chosen,
        nonlinearity=nonlinearity,
        **(biases | model),
    )


def test_without_a_nonlinearity_a_block_of_a_time_invariant_layer_is_linear():
    x = torch.randn(2, LENGTH, WIDTH)
    linear = signals_network("none", "gelu").blocks[0]
    with torch.no_grad():
        torch.testing.assert_close(linear(-x), -linear(x), rtol=1e-5, atol=1e-5)
        for nonlinear in ("output", "all"):
            shaped = signals_network(nonlinear).blocks[0]
            assert (shaped(-x) + shaped(x)).norm() > 0.1 * x.norm()


@pytest.mark.parametrize("nonlinear", ["output", "all"])
def test_the_incremental_gain_holds_with_a_nonlinearity(nonlinear):
    """Also of pairs that differ little, and after random parameters; by nothing smaller."""
    model = signals_network(nonlinear)
    assert model.gain_claim is GainClaim.incremental
    assert model.bound([3.0, 3.0], LENGTH).value == pytest.approx(10, rel=1e-5)
    randomise(model, 1.0)
    x, change = torch.randn(2, 16, LENGTH, WIDTH).double()
    model = model.double()
    with torch.no_grad():
        for size in (1e-3, 1.0):
            moved = model.from_encoded(x + size * change) - model.from_encoded(x)
            gains = moved.flatten(1).norm(dim=1) / (size * change).flatten(1).norm(dim=1)
            assert gains.max() <= 10 * (1 + 1e-5)


def test_the_nonlinearitys_constant_is_part_of_the_bound():
    """GELU's, 1.13: of the half through the layer, or of all channels."""
    slope = build_nonlinearity("gelu", WIDTH).bound().value
    assert slope > 1.1
    for nonlinear, passing in (("output", 1.0), ("all", slope)):
        block = signals_network(nonlinear, "gelu").blocks[0]
        assert block.bound(3.0).value == pytest.approx(3 * slope, rel=1e-6)
        assert block.bound(0.1).value == pytest.approx(passing, rel=1e-6)


def test_a_gated_block_takes_a_nonlinearity_without_a_bias_only():
    bounded = signals_network("output", "groupsort", gate=True, decoder=WITHOUT_BIAS)
    assert bounded.zero_state_bound([3.0, 3.0], LENGTH).value == pytest.approx(10, rel=1e-5)
    with pytest.raises(UsageError, match="Cayley may not map zero to zero"):
        signals_network("output", "cayley", gate=True, decoder=WITHOUT_BIAS)


def test_a_stream_with_a_nonlinearity_gives_what_the_whole_signal_gives():
    block = signals_network("all").double().blocks[0]
    x = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        first, state = block.stream(x[:, :5], None)
        second, _ = block.stream(x[:, 5:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), block(x))


def test_a_nonlinearity_that_nothing_uses_is_refused():
    with pytest.raises(UsageError, match=r"model.nonlinearity has no effect on model.block=cert"):
        signals_network("none", "cayley")
