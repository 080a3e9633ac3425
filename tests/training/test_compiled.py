"""Runs whose training steps go through ``torch.compile``: the same run, with the same names.

That compiled networks are equal is tested in ``tests/nn/test_compiled.py``: here nothing is
compiled, since dynamo would trace the checks of types that the tests have in each function.
"""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from ssmbench.build.check import check_parts
from ssmbench.config import typed
from ssmbench.errors import UsageError
from ssmbench.training import compiled
from tests.training.runs import STEPS_PER_EPOCH, losses, train


@pytest.fixture(autouse=True)
def _fresh():
    compiled.forget_compiled()
    yield
    compiled.forget_compiled()


def test_training_steps_alone_are_compiled_and_names_stay(tiny, tmp_path, monkeypatch):
    steps = []

    def compile_(function, **options):
        def run(model, *inputs):
            steps.append(model.training)
            return function(model, *inputs)

        assert options == {"options": {"fallback_random": True}}
        return run

    monkeypatch.setattr(torch, "compile", compile_)
    runs = {}
    for name in (False, True):
        folder = tmp_path / str(name)
        folder.mkdir()
        module = train(tiny(compile=name, model={"dropout": 0.2}), folder).module
        assert steps == [True] * name * 4 * STEPS_PER_EPOCH
        runs[name] = losses(folder), module.state_dict()
    (plain, weights), (found, compiled_weights) = runs[False], runs[True]
    assert found == plain
    assert list(compiled_weights) == list(weights)


def test_what_cannot_be_compiled_is_one_line(tiny, tmp_path, monkeypatch):
    def run(*inputs):
        raise BackendCompilerFailed("inductor", RuntimeError("no C++ compiler\nand more"), None)

    monkeypatch.setattr(torch, "compile", lambda function, **options: run)
    reason = r"compile: .* cannot compile .*no C\+\+ compiler"
    with pytest.raises(UsageError, match=reason) as found:
        train(tiny(compile=True), tmp_path)
    assert "\n" not in str(found.value)


def test_ranks_that_share_sequences_are_refused(tiny):
    run = typed(tiny(compile=True, sequence_parallel=2, trainer={"devices": 2}))
    with pytest.raises(UsageError, match="compile: not with sequence_parallel=2"):
        check_parts(run)
