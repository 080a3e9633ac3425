"""Whole Mamba networks against the equations of state-spaces/mamba at e9594ce
(mamba_ssm/modules/mamba_simple.py, mamba_ssm/ops/selective_scan_interface.py,
mamba_ssm/models/mixer_seq_simple.py); Gu and Dao 2023, arXiv 2312.00752, sections 3.2 to 3.4.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from ssmbench.analysis.certificate import Bound
from ssmbench.build.network import build_network
from ssmbench.config import RunConfig, resolve_model
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.mamba import MambaState
from ssmbench.nn.stream import StreamState
from ssmbench.scans.sequence_parallel import Segments
from ssmbench.spec import Channels, TaskSizes
from tests.published.parity import Rates, Values, batch, check_parity, count, network_of

LAYERS, H, N, RANK, KERNEL = 2, 6, 3, 1, 4
MODEL = {
    "block": "mamba",
    "parametrization": {
        "name": "selective",
        "d_state": N,
        "dt_rank": RANK,
        "euler_input": True,
        "published_groups": True,
    },
    "discretizer": "zoh",
    "d_model": H,
    "n_layers": LAYERS,
    "norm": "rms",
    "final_norm": "rms",
    "readout": "after",
}


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def mixer(p: Values, x: Tensor) -> Tensor:
    """Mamba.forward of the slow path, step by step as in selective_scan_ref."""
    h, z = (x @ p["in_proj"].mT).chunk(2, -1)
    padded = torch.cat([torch.zeros_like(h[:, :1]).expand(-1, KERNEL - 1, -1), h], 1)
    taps = [padded[:, k : k + h.shape[1]] * p["conv"][:, 0, k] for k in range(KERNEL)]
    h = silu(sum(taps) + p["conv_bias"])
    low, B, C = (h @ p["x_proj"].mT).split([RANK, N, N], -1)
    delta = softplus(low @ p["dt_proj"].mT + p["dt_bias"])
    A = -p["A_log"].exp()
    state, outputs = torch.zeros(len(x), 2 * H, N, dtype=x.dtype), []
    for k in range(h.shape[1]):
        now = delta[:, k, :, None]
        state = (now * A).exp() * state + now * B[:, k, None] * h[:, k, :, None]
        outputs.append((state * C[:, k, None]).sum(-1))
    y = torch.stack(outputs, 1) + p["D"] * h
    return (y * silu(z)) @ p["out_proj"].mT


def statement(values: Values, u: Tensor, training: bool) -> Tensor:
    x = u @ values["encoder"].mT + values["encoder_bias"]
    for index in range(LAYERS):
        prefix = f"{index}."
        p = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        x = x + mixer(p, rms(x, p["norm"]))
    x = rms(x, values["norm_f"])
    return x.mean(1) @ values["decoder"].mT + values["decoder_bias"]


def published(network) -> Values:
    """The network's parameters by the names of the published code."""
    values = {
        "encoder": network.encoder.weight,
        "encoder_bias": network.encoder.bias,
        "norm_f": network.final_norm.weight,
        "decoder": network.decoder.weight,
        "decoder_bias": network.decoder.bias,
    }
    for index, block in enumerate(network.blocks):
        own = block.layer.parametrization
        layer = {"in_proj": block.project_in.weight, "out_proj": block.project_out.weight}
        layer |= {"conv": block.conv.weight, "conv_bias": block.conv.bias}
        layer |= {"x_proj": own.to_dt_B_C, "dt_proj": own.dt_weight, "dt_bias": own.dt_bias}
        layer |= {"A_log": own.log_A, "D": own.D, "norm": block.norm.weight}
        values |= {f"{index}.{key}": value for key, value in layer.items()}
    return values


def rates(name: str) -> Rates:
    """Decay for weights; none for biases, norms, and what has _no_weight_decay there."""
    own = name.rpartition(".")[2]
    plain = own.endswith("bias") or own in ("norm", "norm_f", "A_log", "D")
    return Rates(decay=0.0) if plain else Rates()


def test_a_config_is_the_published_network():
    network, optimizer = network_of(MODEL, {})
    assert network.parameter_count() == count(published(network))
    check_parity(network, optimizer, published, statement, rates)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_a_stream_has_the_state_of_the_published_step(chunk):
    """Mamba.step: the last inputs of the convolution and the state of the scan are all it keeps."""
    network, _ = network_of(MODEL, {})
    network.eval()
    u, _ = batch()
    state = None
    for end in range(chunk, u.shape[1] + chunk, chunk):
        part = u[:, end - chunk : end]
        y, state = network.stream(part, state)
        expected = statement(published(network), u[:, :end], False)
        torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
        state = state.detach()
    for kept in state.layers:
        assert kept.inputs.shape == (len(u), KERNEL - 1, 2 * H)
        assert kept.layer.shape == (len(u), 2 * H, N)


def test_gradients_flow_through_the_state_unless_it_is_detached():
    block = network_of(MODEL, {})[0].blocks[0]
    x = torch.randn(1, 5, H, dtype=torch.float64, requires_grad=True)
    _, state = block.stream(x[:, :3], None)
    for detached in (False, True):
        y, _ = block.stream(x[:, 3:], state.detach() if detached else state)
        (gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        assert (gradient[:, :3].abs().sum() > 0) == (not detached)


def test_the_output_map_starts_smaller_with_more_blocks():
    """_init_weights: divided by the root of the number of residual layers."""
    sizes = TaskSizes(Channels(3), 5, length=9, per_step=False)
    model = MODEL | {"d_model": 64, "n_layers": 16}
    network = build_network(RunConfig(model=resolve_model(model)), sizes)
    largest = network.blocks[0].project_out.weight.abs().max().item()
    assert largest == pytest.approx(1 / math.sqrt(128) / 4, rel=0.05)


# --- what it cannot be ----------------------------------------------------------------------------


def built(**options) -> object:
    sizes = TaskSizes(Channels(3), 5, length=9, per_step=False)
    return build_network(RunConfig(model=resolve_model(MODEL | options)), sizes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bidirectional": True}, r"model\.bidirectional: the block mamba is causal"),
        ({"nonlinearity": "relu"}, r"model\.nonlinearity has no effect on model\.block=mamba"),
        ({"mix": False}, r"model\.mix has no effect on model\.block=mamba"),
        (
            {"gamma": 2.0, "norm": "none", "final_norm": None},
            "the gate of a Mamba block multiplies",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        built(**options)


def test_there_is_no_bound_with_any_layer_and_the_reason_is_the_gate():
    selective = built()
    contraction = built(parametrization="contraction", discretizer=None, readout="before")
    for network in (selective, contraction):
        bound: Bound = network.bound([None if network is selective else 1.0] * LAYERS, 9)
        assert not bound.finite
        assert "the gate of a Mamba block multiplies two signals" in bound.reason


def test_ranks_cannot_share_a_sequence():
    network = built()
    with (
        pytest.raises(UsageError, match="reads steps of the segment before"),
        network.sharing(Segments()),
    ):
        pass


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (torch.zeros(2, 12, 3), "must be a MambaState"),
        (MambaState(torch.zeros(2, 2, 12), None), r"must have the shape \(2, 3, 12\), got \(2, 2,"),
    ],
)
def test_a_wrong_state_is_refused(state, says):
    with pytest.raises(UsageError, match=says):
        built().stream(torch.randn(2, 4, 3), StreamState((state, None)))
