"""Encoders of channels with tanh."""

from __future__ import annotations

import pytest
import torch

from ssmbench import registry
from ssmbench.config import fingerprint, resolve
from ssmbench.nn.encoders.linear import LinearConfig
from ssmbench.spec import Channels

NAMES = ("linear", "bounded_linear")


def encoder(name: str, activation: str):
    torch.manual_seed(0)
    sizes = {"input": Channels(3), "length": 5, "d_model": 4}
    return registry.encoders.get(name).build(LinearConfig(activation), **sizes).double()


@pytest.mark.parametrize("name", NAMES)
def test_tanh_is_applied_to_the_affine_map_and_keeps_its_bound(name):
    plain, curved = encoder(name, "none"), encoder(name, "tanh")
    u, v = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(curved(u), torch.tanh(plain(u)), rtol=0, atol=0)
    assert curved.bound() == plain.bound()
    assert (curved(u) - curved(v)).norm() <= curved.bound().value * (u - v).norm()


@pytest.mark.parametrize("name", NAMES)
def test_runs_without_it_keep_their_identity(name):
    def named(encoder):
        return fingerprint(resolve({"model": {"encoder": encoder}}))

    assert named(name) == named({"name": name, "activation": "none"})
    assert named(name) != named({"name": name, "activation": "tanh"})
