"""Every strategy that a config may name trains; those that divide parameters are refused."""

from __future__ import annotations

import os

import pytest

from ssmbench.errors import UsageError
from ssmbench.training.trainer_options import _STRATEGIES, check_trainer_options
from tests.ports import rendezvous
from tests.training.runs import losses, train


@pytest.mark.parametrize("strategy", _STRATEGIES[1:])
def test_strategies_train_as_one_process_does(tiny, tmp_path, once, monkeypatch, strategy):
    _, plain = once(train, tiny())
    with rendezvous() as port:
        for name, value in port.items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)
        train(tiny(trainer={"strategy": strategy}), tmp_path)
        assert set(os.environ) <= {*before, "PL_GLOBAL_SEED", "PL_SEED_WORKERS"}, "no rank is left"
    assert losses(tmp_path) == losses(plain)


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_3"])
def test_strategies_that_divide_the_parameters_are_refused(strategy):
    sentence = f"trainer.strategy: {strategy} divides the parameters .* take ddp with a smaller"
    with pytest.raises(UsageError, match=sentence):
        check_trainer_options({"strategy": strategy})


@pytest.mark.parametrize("strategy", ["xla", "single_device", "single_tpu"])
def test_strategies_that_are_not_tested_are_no_choice(strategy):
    with pytest.raises(UsageError, match="is not a choice; known: auto, ddp"):
        check_trainer_options({"strategy": strategy})
