"""A training step waits for a GPU nowhere but where a reason is named, over the registry."""

from __future__ import annotations

import pytest
import torch

from ssmbench.bench.synchronising import SynchronisationCount, Wait
from tests.tools import load_tool

TOOL = load_tool("synchronisations")
VARIANTS = dict(TOOL.variants())


@pytest.fixture(scope="module")
def counted():
    """The waits of each variant, as they are counted."""
    return {}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_step_waits_where_a_reason_is_named_only(variant, counted):
    counted[variant] = TOOL.waits(VARIANTS[variant])
    assert counted[variant], "the loss is looked at once"
    unnamed = [wait for wait in counted[variant] if TOOL.reason(wait) is None]
    assert unnamed == []


def test_every_reason_is_of_a_wait_that_there_is(counted):
    found = {place[1:] for waits in counted.values() for place in waits}
    if len(counted) < len(VARIANTS):
        pytest.skip("only some variants have been counted")
    assert set(TOOL.REASONS) - found == set()
    unused = [file for file in TOOL.OF_FILES if not any(f.startswith(file) for f, _ in found)]
    assert unused == []


WAITING = {
    "item": lambda x: x[0, 0].item(),
    "bool": lambda x: bool((x > 0).any()),
    "a mask": lambda x: x[x > 0],
    "a mask that is written": lambda x: x.clone().__setitem__(x > 0, torch.ones(4)),
    "nonzero": lambda x: x.nonzero(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "cholesky": lambda x: torch.linalg.cholesky(x),
    "inv": lambda x: torch.linalg.inv(x),
    "solve": lambda x: torch.linalg.solve(x, x),
    "svd": lambda x: torch.linalg.matrix_norm(x, 2),
    "eigh": lambda x: torch.linalg.eigvalsh(x),
    "eig": lambda x: torch.linalg.eigvals(x),
    "exponential": lambda x: torch.linalg.matrix_exp(x),
    "a number": lambda x: x * torch.tensor(2.0),
    "list": lambda x: x.tolist(),
    "array": lambda x: x.numpy(),
    "copy": lambda x: x.cpu(),
}
FREE = {
    "cholesky_ex": lambda x: torch.linalg.cholesky_ex(x),
    "solve_ex": lambda x: torch.linalg.solve_ex(x, x),
    "inv_ex": lambda x: torch.linalg.inv_ex(x),
    "triangular": lambda x: torch.linalg.solve_triangular(x, x, upper=False),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "qr": lambda x: torch.linalg.qr(x),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_counted(name):
    with SynchronisationCount() as count:
        WAITING[name](2 * torch.eye(2) + 1)
    assert sum(count.waits.values()) >= 1


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_not(name):
    with SynchronisationCount() as count:
        FREE[name](2 * torch.eye(2) + 1)
    assert not count.waits


def test_a_wait_of_a_backward_pass_is_counted():
    x = torch.eye(2, requires_grad=True)
    x.register_hook(lambda gradient: gradient.sum().item() and None)
    with SynchronisationCount() as count:
        x.sum().backward()
    assert [wait.operator for wait in count.waits] == ["_local_scalar_dense"]


def test_a_wait_names_where_it_was_called():
    from ssmbench.nn.bounds import is_finite

    with SynchronisationCount() as count:
        is_finite(torch.nn.Linear(1, 1, bias=False))
    assert count.waits == {Wait("_local_scalar_dense", "ssmbench/nn/bounds.py", "<genexpr>"): 1}
