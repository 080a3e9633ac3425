"""Whole S5 networks against the equations of lindermanlab/S5 at 3c18fdb: s5/ssm.py, s5/layers.py,
s5/seq_model.py, and the optimizers of s5/train_helpers.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.published.parity import SSM_LR, Rates, Values, check_parity, count, network_of

LAYERS, H, P = 2, 6, 4  # P: modes that are stored, half of ssm_size_base


def gelu(x: Tensor) -> Tensor:
    """flax's: the approximation by tanh."""
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def complex_of(parts: Tensor) -> Tensor:
    return parts[..., 0] + 1j * parts[..., 1]


def ssm(p: Values, u: Tensor, discretization: str) -> Tensor:
    """apply_ssm with conj_sym; with C2 it is bidirectional."""
    step, Lambda = p["log_step"].exp(), p["Lambda_re"] + 1j * p["Lambda_im"]
    B = complex_of(p["B"])
    if discretization == "zoh":
        Lambda_bar = torch.exp(Lambda * step)
        B_bar = (1 / Lambda * (Lambda_bar - 1))[:, None] * B
    else:
        BL = 1 / (1 - step / 2 * Lambda)
        Lambda_bar, B_bar = BL * (1 + step / 2 * Lambda), (BL * step)[:, None] * B
    Bu = u.to(B_bar.dtype) @ B_bar.mT
    states = [recurrence(Lambda_bar, Bu)]
    if "C2" in p:
        states.append(recurrence(Lambda_bar, Bu.flip(1)).flip(1))
    C = torch.cat([complex_of(p[k]) for k in ("C1", "C2") if k in p], -1)
    return 2 * (torch.cat(states, -1) @ C.mT).real + p["D"] * u


def recurrence(Lambda_bar: Tensor, Bu: Tensor) -> Tensor:
    x, rows = torch.zeros_like(Bu[:, 0]), []
    for now in Bu.unbind(1):
        x = Lambda_bar * x + now
        rows.append(x)
    return torch.stack(rows, 1)


def norm(p: Values, x: Tensor, kind: str) -> Tensor:
    """flax's LayerNorm, or BatchNorm in training: eps 1e-6 and 1e-5, biased variances."""
    dims, eps = ((0, 1), 1e-5) if kind == "batch" else ((-1,), 1e-6)
    mean = x.mean(dims, keepdim=True)
    variance = (x - mean).square().mean(dims, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * p["scale"] + p["norm_bias"]


def activation(p: Values, x: Tensor, kind: str) -> Tensor:
    if kind == "gelu":
        return gelu(x)
    gate = torch.sigmoid(gelu(x) @ p["out2"].mT + p["out2_bias"])
    if kind == "full_glu":
        return (gelu(x) @ p["out1"].mT + p["out1_bias"]) * gate
    return (gelu(x) if kind == "half_glu1" else x) * gate


def statement(prenorm: bool, kind: str, shape: str, discretization: str):
    def logits(values: Values, u: Tensor, training: bool) -> Tensor:
        x = u @ values["encoder"].mT + values["encoder_bias"]
        for index in range(LAYERS):
            prefix = f"{index}."
            p = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            skip, x = x, norm(p, x, kind) if prenorm else x
            x = skip + activation(p, ssm(p, x, discretization), shape)
            x = x if prenorm else norm(p, x, kind)
        return x.mean(1) @ values["decoder"].mT + values["decoder_bias"]

    return logits


def published(network) -> Values:
    """The network's parameters by the names of the published code."""
    values = {
        "encoder": network.encoder.weight,
        "encoder_bias": network.encoder.bias,
        "decoder": network.decoder.weight,
        "decoder_bias": network.decoder.bias,
    }
    for index, block in enumerate(network.blocks):
        own = block.layer.parametrization
        layer = {"Lambda_re": own.real, "Lambda_im": own.frequency, "log_step": own.log_dt}
        layer |= {"B": own.B, "C1": own.C, "D": own.D}
        if block.reverse_layer is not None:
            layer["C2"] = block.reverse_layer.parametrization.C
        layer |= {"scale": block.norm.weight, "norm_bias": block.norm.bias}
        layer |= gate_of(block)
        values |= {f"{index}.{key}": value for key, value in layer.items()}
    return values


def gate_of(block) -> Values:
    linear = getattr(block.nonlinearity, "linear", None)
    if linear is None:
        return {}
    weights = dict(zip(("out1", "out2"), linear.weight.split(H), strict=False))
    biases = dict(zip(("out1_bias", "out2_bias"), linear.bias.split(H), strict=False))
    if len(weights) == 1:
        weights, biases = {"out2": weights["out1"]}, {"out2_bias": biases["out1_bias"]}
    return weights | biases


#: Published opt_config: parameters with the SSM learning rate and no decay; with it and decay.
OPT_CONFIGS = {
    "standard": ({"B", "Lambda_re", "Lambda_im", "log_step"}, set()),
    "BandCdecay": ({"Lambda_re", "Lambda_im", "log_step"}, {"B"}),
    "BfastandCdecay": ({"Lambda_re", "Lambda_im", "log_step"}, set()),
    "noBCdecay": ({"B", "C1", "C2", "D", "Lambda_re", "Lambda_im", "log_step"}, set()),
}
#: The same as patterns, beside ``published_groups``: biases and norms have decay, too.
EVERYTHING_ELSE = [
    {"pattern": "*.bias", "weight_decay": 0.05},
    {"pattern": "*.norm.*", "weight_decay": 0.05},
]
OURS = {
    "standard": [],
    "BandCdecay": [{"pattern": "*.parametrization.B", "weight_decay": 0.05}],
    "BfastandCdecay": [{"pattern": "*.parametrization.B", "lr": 4e-3, "weight_decay": 0.05}],
    "noBCdecay": [{"pattern": "*.parametrization.[CD]", "lr": 1e-3, "weight_decay": 0.0}],
}


def rates_of(opt_config: str):
    plain, decayed = OPT_CONFIGS[opt_config]

    def rates(name: str) -> Rates:
        own = name.rpartition(".")[2]
        if own in plain:
            return Rates(SSM_LR, 0.0)
        return Rates(SSM_LR) if own in decayed else Rates()

    return rates


def model(prenorm: bool, kind: str, shape: str, discretization: str, bidirectional: bool):
    gate = {"full_glu": "full", "half_glu1": "half1", "half_glu2": "half2"}
    glu = {"name": "glu", "gelu": "tanh", "form": gate.get(shape)}
    batch = {"name": "batch", "variance": "biased", "momentum": 0.05}
    return {
        "parametrization": {
            "name": "s5",
            "d_state": 2 * P,
            "blocks": 2,
            "B_init": "lecun_normal",
            "C_init": "lecun_normal",
            "real_part": "clip",
            "published_groups": True,
        },
        "discretizer": discretization,
        "d_model": H,
        "n_layers": LAYERS,
        "norm": batch if kind == "batch" else {"name": "layer", "eps": 1e-6},
        "norm_position": "pre" if prenorm else "post",
        "nonlinearity": "gelu_tanh" if shape == "gelu" else glu,
        "mix": False,
        "readout": "after",
        "bidirectional": bidirectional,
        "tied": bidirectional,
    }


@pytest.mark.parametrize(
    ("prenorm", "kind", "shape", "discretization", "bidirectional", "opt_config"),
    [
        (True, "batch", "half_glu2", "zoh", True, "BfastandCdecay"),  # ListOps
        (True, "batch", "half_glu1", "zoh", True, "standard"),  # Pathfinder
        (True, "batch", "half_glu1", "zoh", True, "BandCdecay"),  # Path-X
        (True, "batch", "half_glu1", "zoh", True, "noBCdecay"),  # Speech Commands
        (False, "batch", "full_glu", "bilinear", True, "standard"),
        (False, "layer", "half_glu1", "zoh", False, "standard"),
        (True, "layer", "gelu", "bilinear", False, "standard"),
    ],
)
def test_a_config_is_the_published_network(
    prenorm, kind, shape, discretization, bidirectional, opt_config
):
    groups = {"groups": EVERYTHING_ELSE + OURS[opt_config]}
    parts = (prenorm, kind, shape, discretization)
    network, optimizer = network_of(model(*parts, bidirectional), groups)
    assert network.parameter_count() == count(published(network))
    check_parity(network, optimizer, published, statement(*parts), rates_of(opt_config))


def test_running_averages_are_flaxs():
    """flax BatchNorm, momentum 0.95: of the mean and of the biased variance."""
    network, _ = network_of(model(True, "batch", "half_glu1", "zoh", True), {})
    u = torch.randn(3, 7, 3, dtype=torch.float64)
    network.train()(u)
    x = network.encoder(u)
    mean, variance = x.mean((0, 1)), x.var((0, 1), unbiased=False)
    found = network.blocks[0].norm
    torch.testing.assert_close(found.mean, 0.05 * mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.variance, 0.95 + 0.05 * variance, rtol=1e-12, atol=1e-12)
