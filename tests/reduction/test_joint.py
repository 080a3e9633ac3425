"""Orders of heads and of layers from one share of all their states."""

from __future__ import annotations

import math

import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.reduction import Amount, proved_error
from ssmbench.reduction.joint import joint_level, orders_at
from ssmbench.systems import DiscreteDiagonal
from ssmbench.testing.reducers import example_lti_systems

EXAMPLES = example_lti_systems()


def reduced(system, name="balanced_truncation", **amount):
    return registry.reducers.get(name).build().reduce(system, Amount(joint=True, **amount))


def uneven():
    """Two heads with three pairs; of the second, one has a large output, the others almost none."""
    generator = torch.Generator().manual_seed(0)
    lam = torch.polar(torch.full((2, 3), 0.9).double(), torch.tensor([[0.3, 1, 2]] * 2).double())
    B, C = torch.randn(2, 2, 3, 1, generator=generator, dtype=torch.complex128)
    C = C.mT * torch.tensor([[[1, 1, 1.0]], [[30, 1e-6, 1e-6]]])
    D = torch.zeros(2, 1, 1).double()
    return DiscreteDiagonal(lam=lam, B=B, C=C, D=D, conjugate=True)


def table(heads, generator):
    """Losses that fall with the order, some orders not allowed, with equal values among them."""
    losses = torch.randint(1, 9, (heads, 5), generator=generator).double()
    forbidden = torch.rand(heads, 5, generator=generator) < 0.3
    forbidden[:, 0] = False
    return torch.where(forbidden, torch.inf, losses.cummin(-1).values)


@pytest.mark.parametrize("seed", range(50))
def test_the_level_is_the_smallest_that_removes_the_share(seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = table(2, generator), table(3, generator)
    share = float(torch.rand((), generator=generator))
    level, parts = joint_level([one, other], share), (one, other)
    allowed = math.floor((1 - share) * 20 + 1e-9)

    def kept(at):
        return sum(
            int(orders_at(p, torch.full((len(p),), at, dtype=torch.float64)).sum()) for p in parts
        )

    assert kept(level) <= allowed
    assert kept(level * (1 - 1e-12)) > allowed or level == min(float(p.min()) for p in parts)


def test_heads_that_need_more_states_keep_more():
    system = uneven()
    found = reduced(system, share=0.5)
    assert found.orders.tolist() == [4, 2]
    assert found.removed == 0.5
    each = registry.reducers.get("balanced_truncation").build().reduce(system, Amount(share=0.5))
    assert float(found.hinf_error.max()) < float(each.hinf_error.max())


@pytest.mark.parametrize("name", registry.reducers.names())
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_reducer_keeps_its_bound_with_an_order_for_each_head(name, example):
    system = EXAMPLES[example]
    found = reduced(system, name, share=0.4)
    assert found.removed >= 0.4 - 1e-9
    assert not bool(found.above_bound.any())
    proved = proved_error(system, found.system)
    assert bool((found.hinf_error <= proved * (1 + 1e-8)).all())
    assert bool((proved <= found.hinf_error * 1.01 + 1e-9).all())


def test_the_proof_is_of_each_head_with_its_order():
    """The proved errors of one head would not hold for the other."""
    found = reduced(uneven(), share=0.5)
    proved = proved_error(uneven(), found.system)
    assert float(proved.min()) < float(found.hinf_error.max())


def test_an_order_limits_each_head():
    assert reduced(uneven(), share=0.55, order=3).orders.tolist() == [3, 2]
    assert reduced(uneven(), share=0.2, order=2).orders.tolist() == [2, 2]


def test_states_are_removed_where_one_head_keeps_all():
    found = reduced(uneven(), share=0.3)
    assert found.orders.tolist()[0] == 6
    assert found.removed >= 0.3
    assert found.system.states == 3
    assert float(found.hinf_error[0]) < 1e-9


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UsageError, match="joint: applies to a share only"):
        Amount(order=3, joint=True)
    with pytest.raises(UsageError, match="given: tolerance and share"):
        Amount(tolerance=1.0, share=0.5, joint=True)
