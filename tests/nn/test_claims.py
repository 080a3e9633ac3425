"""Zero-state and incremental claims: what a network's bound makes of each."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench.analysis.certificate import GainClaim
from ssmbench.build.encoder_decoder import build_decoder, build_encoder
from ssmbench.config import AnalysisConfig, RunConfig
from ssmbench.config.schema import ModelConfig
from ssmbench.errors import UsageError
from ssmbench.nn.claims import NO_GAIN_FROM_LEARNED_STATE
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.parametrizations.base import Parametrization
from ssmbench.spec import Channels, TaskSizes
from ssmbench.systems import TimeVaryingDiagonal
from ssmbench.training.gains import measure_gains
from tests.builders import build_block, build_layer

WIDTH, LENGTH = 4, 9
CONFIG = AnalysisConfig(attack_steps=20, attack_restarts=4)


class Switch(Parametrization):
    """y = tanh(w u) x, x' = u: a delay that the input selects, of zero-state gain 1."""

    system_type = TimeVaryingDiagonal
    stable_by_construction = True
    promise = 1.0

    def __init__(self, d_model: int = WIDTH):
        super().__init__()
        self.d_model = d_model
        self.w = torch.nn.Parameter(torch.full((d_model,), 3.0))

    def forward(self, u):
        ones = torch.ones_like(u)[..., None, None]
        read = torch.tanh(self.w * u)[..., None, None]
        return TimeVaryingDiagonal(lam=0 * ones[..., 0], B=ones, C=read, D=0 * ones)

    def declared_gain(self):
        return self.promise


class Liar(Switch):
    """Declares a third of its gain."""

    promise = 1 / 3


class Incremental(Switch):
    """Says more than it keeps."""

    gain_claim = GainClaim.incremental


def network(
    module: Parametrization | str,
    *,
    gamma: float | None = None,
    bias: bool = False,
    start: InitialState = InitialState.zero,
    **parts,
) -> SequenceModel:
    """One residual block of width 4 around the layer, from one channel to two outputs a step."""
    torch.manual_seed(0)
    block = build_block(
        build_layer(module, initial_state=start),
        parts.pop("nonlinearity", "tanh"),
        WIDTH,
        bounded=gamma is not None,
        **parts,
    )
    sizes = TaskSizes(Channels(1), 2, length=LENGTH, per_step=True)
    name = "linear" if gamma is None else "bounded_linear"
    components = {"encoder": {"name": name, "bias": bias}, "decoder": {"name": "per_step"}}
    components["decoder"]["bias"] = bias
    config = RunConfig(model=ModelConfig(d_model=WIDTH, gamma=gamma, **components))
    return SequenceModel(
        [block],
        encoder=build_encoder(config, sizes),
        decoder=build_decoder(config, sizes, Pooling.mean),
        gamma=gamma,
    )


def signals() -> torch.Tensor:
    return torch.randn(3, LENGTH, 1, generator=torch.Generator().manual_seed(7))


def test_a_time_varying_class_that_does_not_say_is_taken_at_the_weaker_claim():
    assert Switch.gain_claim is GainClaim.zero_state
    assert Parametrization.gain_claim is GainClaim.incremental
    assert Switch.describe()["gain_claim"] == "zero-state"
    assert build_layer(Switch()).gain_claim is GainClaim.zero_state
    assert build_layer("l2ru").gain_claim is GainClaim.incremental
    assert build_layer("selective", "zoh").gain_claim is GainClaim.incremental  # declares none


def test_a_zero_state_claim_gives_a_zero_state_bound_and_no_incremental_one():
    model = network(Switch(), mix=False)
    block = model.blocks[0]
    assert block.zero_state_bound(1.0).value == pytest.approx(2.0)  # x + tanh(y)
    assert "zero-state gain only" in block.bound(1.0).reason
    whole = torch.linalg.matrix_norm(model.encoder.weight, 2) * 2
    whole = whole * torch.linalg.matrix_norm(model.decoder.weight, 2)
    assert model.zero_state_bound([1.0], LENGTH).value == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "culprit"),
    [
        ({"bias": True}, "LinearEncoder may not map zero to zero"),
        ({"nonlinearity": "sll"}, "SLL may not map zero to zero"),
        ({"nonlinearity": "cayley"}, "Cayley may not map zero to zero"),
        ({"mix": True}, "Linear may not map zero to zero"),
        ({"norm": "batch"}, "BatchNorm may not map zero to zero"),
        ({"start": InitialState.learned}, "starts from a learned state"),
    ],
)
def test_no_zero_state_bound_where_a_part_may_not_map_zero_to_zero(changed, culprit):
    model = network(Switch(), **{"mix": False, **changed})
    found = model.zero_state_bound([1.0], LENGTH)
    assert culprit in found.reason
    assert found.value == math.inf


def test_a_learned_state_takes_the_gain_of_a_time_varying_layer():
    layer = build_layer(Switch(), initial_state=InitialState.learned)
    assert layer.declared_gain() is None
    assert layer.undeclared_reason() == NO_GAIN_FROM_LEARNED_STATE
    assert build_layer("l2ru", initial_state=InitialState.learned).declared_gain() is not None


def test_linear_layers_keep_both_claims():
    """From zero, a network of time-invariant layers without biases has the bound of both kinds."""
    model = network("l2ru", mix=False)
    assert model.gain_claim is GainClaim.incremental
    assert model.zero_state_bound([1.5], LENGTH).value == model.bound([1.5], LENGTH).value


def test_a_prescribed_zero_state_gain_is_stated_and_kept():
    model = network(Switch(), gamma=3.0)
    found = measure_gains(model, signals(), CONFIG).gain
    assert found.network.claim == found.layers[0].claim == "zero-state"
    assert found.network.zero_state_bound == pytest.approx(3.0, rel=1e-5)
    assert found.network.bound == math.inf
    assert 0 < found.network.zero_state <= 3.0
    assert 0.3 < found.layers[0].attacked <= 1.0 < found.layers[0].attacked_incremental
    assert found.violations == ()
    assert not model.blocks[0].mix.bias


def test_a_prescribed_zero_state_gain_refuses_biases():
    with pytest.raises(UsageError, match=r"the encoder BoundedLinearEncoder may not; set "):
        network(Switch(), gamma=3.0, bias=True)
    with pytest.raises(UsageError, match=r"no finite certificate because SLL may not map zero"):
        network(Switch(), gamma=3.0, nonlinearity="sll")


@pytest.mark.parametrize("kind", [Liar, Incremental])
def test_planted_lies_about_claims_are_found(kind):
    (sentence, *_) = measure_gains(network(kind()), signals(), CONFIG).gain.violations
    assert sentence.startswith("layer 0: attacked")
