"""Runs whose training steps go through ``torch.compile``: the same run, with the same names.

That compiled networks are equal is tested in ``tests/nn/test_compiled.py``: here nothing is
compiled, since dynamo would trace the checks of types that the tests have in each function.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from ssmbench.build.check import check_parts
from ssmbench.config import fingerprint, typed
from ssmbench.config.compilation import MODES
from ssmbench.errors import UsageError
from ssmbench.training import compiled
from tests.training.runs import STEPS_PER_EPOCH, losses, train


@pytest.fixture(autouse=True)
def _fresh():
    compiled.forget_compiled()
    yield
    compiled.forget_compiled()


def test_training_steps_alone_are_compiled_and_names_stay(tiny, tmp_path, monkeypatch):
    steps, modes = [], []

    def compile_(function, **options):
        def run(model, *inputs):
            steps.append(model.training)
            return function(model, *inputs)

        modes.append(options["options"])
        return run

    monkeypatch.setattr(torch, "compile", compile_)
    runs = {}
    for name in (False, True, "reduce-overhead"):
        folder = tmp_path / str(name)
        folder.mkdir()
        steps.clear()
        module = train(tiny(compile=name, model={"dropout": 0.2}), folder).module
        assert steps == [True] * bool(name) * 4 * STEPS_PER_EPOCH
        runs[name] = losses(folder), module.state_dict()
    plain, weights = runs.pop(False)
    for found, compiled_weights in runs.values():
        assert found == plain
        assert list(compiled_weights) == list(weights)
    every = {"fallback_random": True}
    assert modes == [every, every | {"triton.cudagraphs": True}]


def test_what_cannot_be_compiled_is_one_line(tiny, tmp_path, monkeypatch):
    def run(*inputs):
        raise BackendCompilerFailed("inductor", RuntimeError("no C++ compiler\nand more"), None)

    monkeypatch.setattr(torch, "compile", lambda function, **options: run)
    reason = r"compile: .* cannot compile .*no C\+\+ compiler"
    with pytest.raises(UsageError, match=reason) as found:
        train(tiny(compile=True), tmp_path)
    assert "\n" not in str(found.value)


def test_modes_are_those_of_torch(tiny):
    """Others are refused with the nearest, and what is near to none with all of them."""
    assert set(torch._inductor.list_mode_options()) >= set(MODES)
    for mode in MODES:
        assert tiny(compile=mode)["compile"] == mode
    with pytest.raises(
        UsageError, match="compile: 'reduce_overhead' is not a choice; did you mean"
    ):
        tiny(compile="reduce_overhead")
    with pytest.raises(
        UsageError, match="compile: 'zzz' is not a choice; known: default, false, max"
    ):
        tiny(compile="zzz")


def test_earlier_runs_keep_their_fingerprints(tiny):
    """``compile`` was true or false: of a config without it, with false, and with true."""
    config = tiny()
    assert config["compile"] is False
    without = {key: value for key, value in config.items() if key != "compile"}
    assert fingerprint(config) == fingerprint(without)
    compiled = tiny(compile=True)
    assert compiled["compile"] is True
    assert fingerprint(compiled) not in (fingerprint(config), fingerprint(tiny(compile="default")))


def test_operators_that_read_values_stay_out_of_cuda_graphs():
    """Those of dense systems, which look whether powers of A overflow."""
    for module in ("dense", "linear_scan"):
        importlib.import_module(f"ssmbench.scans.triton.{module}")
    operators = torch.ops.ssmbench
    for name in ("dense_states", "triton_dense_states", "dense_layer", "dense_layer_backward"):
        assert torch.Tag.cudagraph_unsafe in getattr(operators, name).default.tags
    assert torch.Tag.cudagraph_unsafe not in operators.triton_linear_scan.default.tags


def test_ranks_that_share_sequences_are_refused(tiny):
    run = typed(tiny(compile=True, sequence_parallel=2, trainer={"devices": 2}))
    with pytest.raises(UsageError, match="compile: not with sequence_parallel=2"):
        check_parts(run)
