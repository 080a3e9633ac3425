"""LSSL: starts at HiPPO, fixed or free, and learns inside a network."""

from __future__ import annotations

import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.nn.model import SequenceModel
from ssmbench.parametrizations.hippo import Measure, matrices
from ssmbench.parametrizations.lssl import LSSL, LSSLConfig
from tests.builders import build_block, build_layer, build_model


def build(d_model: int = 3, **options) -> LSSL:
    torch.manual_seed(0)
    return LSSL(LSSLConfig(**{"d_state": 7, **options}), d_model=d_model)


@pytest.mark.parametrize("train_A", [True, False])
@pytest.mark.parametrize("measure", list(Measure))
def test_it_starts_at_a_stable_hippo_matrix(measure, train_A):
    system = build(init=measure, train_A=train_A)()
    A, B = (torch.from_numpy(m).float() for m in matrices(measure, 7))
    for copy in range(3):
        torch.testing.assert_close(system.A[copy], A)
        torch.testing.assert_close(system.B[copy, :, 0], B)
    assert system.is_stable()


def network(parametrization: LSSL) -> SequenceModel:
    block = build_block(build_layer(parametrization, "bilinear"), "gelu", 3)
    return build_model([block], inputs=1, d_model=3, outputs=1, pooling=None)


@pytest.mark.parametrize("train_A", [True, False])
def test_it_learns_to_remember(train_A):
    """Four steps of delay: what no memoryless network can reproduce at all."""
    module = build(train_A=train_A, dt_min=0.05, dt_max=0.3)
    model = network(module)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    u = torch.randn(8, 40, 1)
    target = torch.nn.functional.pad(u, (0, 0, 4, 0))[:, :40]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        loss = (model(u) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * target.square().mean(), losses[::10]
    moved = {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"B", "C", "D", "log_dt"} | ({"A"} if train_A else set())


def test_a_trained_matrix_may_go_unstable():
    module = build()
    with torch.no_grad():
        module.A += 10 * torch.eye(7)
    assert not module().is_stable()
    assert not module.stable_by_construction


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"d_state": 0}, "positive number of states"),
        ({"init": Measure.fout, "d_state": 8}, "odd number of states"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "dt_min <= dt_max"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        build(**options)
