"""The audit of peers: some not installed, and small ones that keep or break a promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ssmbench import jsonio
from ssmbench.systems import DiscreteDense
from tests.tools import load_tool

TINY = ["--draws", "6", "--attacks", "2", "--pushes", "1", "--push-steps", "5"]


@pytest.fixture(scope="module")
def tool():
    return load_tool("peer_audit")


class Gain(nn.Module):
    """A matrix of norm at most gamma, times ``factor``: a promise that is off by it."""

    def __init__(self, width, gamma, factor=1.0):
        super().__init__()
        self.weight, self.gamma, self.factor = nn.Parameter(torch.eye(width)), gamma, factor

    def matrix(self):
        norm = torch.linalg.matrix_norm(self.weight, 2)
        return self.factor * self.gamma * self.weight / norm.clamp_min(1e-30)

    def forward(self, u):
        return u @ self.matrix().T

    def system(self):
        D = self.matrix()[None]
        return DiscreteDense(A=D[:, :1, :1] * 0, B=D[:, :1] * 0, C=D[:, :, :1] * 0, D=D)


def peer(tool, factor=1.0, package="torch", linear=True, claim="zero-state"):
    return tool.Peer(
        "peer",
        package,
        claim,
        "the gain is at most gamma",
        lambda n, gamma: Gain(n, gamma, factor),
        lambda module, gamma: gamma,
        Gain.system if linear else None,
    )


def audit(tool, capsys, *known):
    assert tool.main([*TINY, "--json"], known) == 0
    return jsonio.loads(capsys.readouterr().out)


def test_a_peer_that_keeps_its_promise_has_no_violations(tool, capsys):
    rows = audit(tool, capsys, peer(tool))
    assert [row["precision"] for row in rows] == ["float32", "float64"]
    for row in rows:
        for part in (row["drawn"], row["pushed"]):
            assert part["violations"] == part["exceptions"] == 0
            assert max(part["verified"]) == pytest.approx(1, rel=1e-5)
            assert 0.9 <= max(part["attacked"]) <= 1 + 1e-5


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("claim", ["zero-state", "incremental"])
def test_a_peer_that_lies_by_root_two_is_caught(linear, claim, tool, capsys):
    """By its matrices, or by its output alone where it has none."""
    rows = audit(tool, capsys, peer(tool, math.sqrt(2), linear=linear, claim=claim))
    for row in rows:
        found = row["drawn"]
        assert found["violations"] == found["layers"] == (6 if linear else 2)
        assert max(found["attacked"]) > 1.2


def test_an_error_is_counted_and_told(tool, capsys):
    def broken(n, gamma):
        raise ArithmeticError(f"no layer of width {n}")

    fault = tool.Peer("broken", "torch", "zero-state", "", broken)
    assert tool.main(TINY, [fault]) == 0
    said = capsys.readouterr().out
    assert "| broken | torch" in said
    assert "broken float32: the first exception: ArithmeticError: no layer of width 2" in said


def test_a_peer_that_is_not_installed_is_one_line(tool, capsys):
    missing = [peer(tool, package="no-such-package-of-anybody")] * 2
    assert tool.main(TINY, missing) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("| peer | not installed |")


def test_every_known_peer_quotes_a_claim(tool):
    for known in tool.peers():
        assert known.claim in ("zero-state", "incremental", "none")
        assert known.quote
