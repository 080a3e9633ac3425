"""Whole LRU networks against the equations of NicolasZucchet/minimal-LRU at bbd71b1 (lru/model.py,
lru/train_helpers.py), which follow Orvieto et al. 2023, section 3 and appendix A.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.published.parity import SSM_LR, Rates, Values, check_parity, count, network_of
from tests.published.test_s5_network import activation, norm, recurrence

LAYERS, H, N = 2, 6, 4

#: The one departure: exp(nu) is larger by this, so that no pole rounds to the unit circle.
GAP = 2.0**-22


def lru(p: Values, u: Tensor) -> Tensor:
    lam = torch.exp(-(torch.exp(p["nu_log"]) + GAP) + 1j * torch.exp(p["theta_log"]))
    B_norm = (p["B_re"] + 1j * p["B_im"]) * torch.exp(p["gamma_log"])[:, None]
    h = recurrence(lam, u.to(B_norm.dtype) @ B_norm.mT)
    return (h @ (p["C_re"] + 1j * p["C_im"]).mT).real + p["D"] * u


def statement(prenorm: bool, kind: str):
    def logits(values: Values, u: Tensor, training: bool) -> Tensor:
        x = u @ values["encoder"].mT + values["encoder_bias"]
        for index in range(LAYERS):
            prefix = f"{index}."
            p = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            inputs, x = x, norm(p, x, kind) if prenorm else x
            x = inputs + activation(p, lru(p, x), "full_glu")
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
        own, linear = block.layer.parametrization, block.nonlinearity.linear
        layer = {"nu_log": own.nu, "theta_log": own.theta, "gamma_log": own.log_gamma, "D": own.D}
        layer |= dict(zip(("B_re", "B_im"), own.B.unbind(-1), strict=True))
        layer |= dict(zip(("C_re", "C_im"), own.C.unbind(-1), strict=True))
        layer |= {"scale": block.norm.weight, "norm_bias": block.norm.bias}
        layer |= dict(zip(("out1", "out2"), linear.weight.split(H), strict=True))
        layer |= dict(zip(("out1_bias", "out2_bias"), linear.bias.split(H), strict=True))
        values |= {f"{index}.{key}": value for key, value in layer.items()}
    return values


def rates(name: str) -> Rates:
    slow = name.rpartition(".")[2] in ("nu_log", "theta_log", "gamma_log", "B_re", "B_im")
    return Rates(SSM_LR, 0.0) if slow else Rates()


@pytest.mark.parametrize(("prenorm", "kind"), [(True, "batch"), (False, "layer")])
def test_a_config_is_the_published_network(prenorm, kind):
    norms = {"batch": {"name": "batch", "variance": "biased"}, "layer": {"name": "layer"}}
    model = {
        "parametrization": {
            "name": "lru",
            "d_state": 2 * N,
            "whole_C": True,
            "published_groups": True,
        },
        "d_model": H,
        "n_layers": LAYERS,
        "norm": norms[kind] | ({"eps": 1e-6} if kind == "layer" else {}),
        "norm_position": "pre" if prenorm else "post",
        "nonlinearity": {"name": "glu", "gelu": "tanh"},
        "mix": False,
        "readout": "after",
    }
    groups = [{"pattern": p, "weight_decay": 0.05} for p in ("*.bias", "*.norm.*")]
    network, optimizer = network_of(model, {"groups": groups})
    assert network.parameter_count() == count(published(network))
    check_parity(network, optimizer, published, statement(prenorm, kind), rates)


def test_the_parameter_C_is_that_of_the_system_or_twice_that():
    from tests.builders import build_parametrization

    systems = []
    for whole in (False, True):
        torch.manual_seed(0)
        systems.append(build_parametrization("lru", 4, d_state=6, whole_C=whole)())
    torch.testing.assert_close(systems[0].C, systems[1].C, rtol=1e-7, atol=0)
