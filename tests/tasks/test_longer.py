"""Test sequences that are longer than those of the training, and what a result says of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ssmbench.build.check import check_parts, check_splits_fit
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.systems import DiscreteDiagonal
from ssmbench.training.further import further_tests
from tests.tasks.tiny import tiny_task
from tests.training.runs import TINY

DELAY = {"name": "delay", "length": 24, "lag": 8, "train_sequences": 12, "test_sequences": 6}
#: Those that draw what they are made of.
LONGER = {"listops", "text", "mass_chain", "duffing", "two_tanks", "cascaded_tanks"} | {
    entry.name for entry in tasks if entry.module.startswith("ssmbench.tasks.probes.")
}


def run_of(**options):
    return resolve(TINY | {"task": DELAY} | options)


@pytest.mark.parametrize("name", [entry.name for entry in tasks])
def test_every_task_has_longer_sequences_or_says_why_not(name, monkeypatch):
    monkeypatch.delenv("SSMBENCH_DATA", raising=False)
    task = tiny_task(name)
    assert (task.fixed_length_reason == "") == (name in LONGER)
    if name not in LONGER:
        with pytest.raises(UsageError, match="has no longer ones: ") as caught:
            task.longer(2)
        assert "\n" not in str(caught.value)
        return
    task.setup()
    usual, longer = task.sample("test"), task.longer(2).batch([0])
    if name == "text":
        data = task.longer(2)
        assert data.lengths.max() == 2 * task.config.max_length
        whole = task.split("test").lengths < task.config.max_length
        assert (data.lengths[whole] == task.split("test").lengths[whole]).all()
        length = task.config.max_length - 1  # the end follows
        assert torch.equal(longer.u[0, :length], usual.u[0, :length])
        return
    if name == "listops":
        config = task.config
        low, high = 2 * config.min_length + 1, 2 * config.max_length  # with the end
        lengths = task.longer(2).lengths
        assert len(lengths) == config.test_expressions
        assert low < lengths.min() <= lengths.max() <= high
        assert task.longer(2).batch([5]).target == task.longer(2).batch([5]).target
        return
    assert longer.u.shape[1] == 2 * usual.u.shape[1]
    assert torch.equal(longer.u, task.longer(2).batch([0]).u)
    assert not torch.equal(longer.u[:, : usual.u.shape[1]], usual.u[:1])


def test_a_published_record_has_an_end():
    with pytest.raises(UsageError, match="length_factors: silverbox cannot be made longer: its te"):
        check_parts(typed(resolve(TINY | {"task": "silverbox", "length_factors": [2]})))


def test_learned_positions_are_refused_before_the_training():
    config = resolve(
        TINY
        | {
            "task": {"name": "parity", "length": 24, "train_sequences": 12, "test_sequences": 6},
            "model": TINY["model"]
            | {"encoder": {"name": "embedding_positions", "positions": "learned"}},
            "length_factors": [2],
        }
    )
    task = build_task(typed(config))
    with pytest.raises(UsageError, match="a sequence of 48 steps has no learned positions"):
        check_splits_fit(build_network(typed(config), task.sizes), task)


@pytest.mark.parametrize("factors", [[1], [0], [2, -4]])
def test_factors_make_longer(factors):
    with pytest.raises(UsageError, match="each from 2"):
        run_of(length_factors=factors)


def test_the_identity_of_runs_without_factors_stays():
    assert fingerprint(run_of(length_factors=[])) == fingerprint(run_of())
    assert fingerprint(run_of(length_factors=[2])) != fingerprint(run_of())


def test_longer_batches_hold_as_many_steps():
    task = build_task(typed(run_of(length_factors=[2])))
    sizes = [batch.size for batch in task.loader("2 x length")]
    assert sizes == [2, 2, 2]
    assert sum(batch.size for batch in task.loader("test")) == 6


def test_a_result_has_scores_and_states_of_every_condition(tmp_path):
    config = run_of(
        trainer=TINY["trainer"] | {"max_epochs": 1},
        length_factors=[2],
        sampling={"dropped": 0.25, "test_dropped": [0, 0.5]},
    )
    run = Run.of(config, tmp_path)
    assert execute(run) == "finished"
    result = run.folder.read_result()
    assert "0.25 of the samples dropped" in result.task.source
    found = {(t.quantity, t.name): t for t in result.further_tests}
    assert [(t.quantity, t.value) for t in result.further_tests] == [
        ("length factor", 1.0),
        ("share dropped", 0.25),
        ("length factor", 2.0),
        ("share dropped", 0.0),
        ("share dropped", 0.5),
    ]
    assert found["length factor", "test"].score == result.scores.test
    assert found["length factor", "2 x length"].score == result.scores.further["2 x length"]
    for test in result.further_tests:
        assert not test.diverged
        assert len(test.state_norms) == 1
        assert 0.2 < test.state_norms[0] < 5


def test_divergence_at_sixteen_times_the_length_is_a_result():
    """lam = 1.2: 24 steps are fine in float32, 768 overflow."""
    run = typed(run_of(length_factors=[32]))
    task = build_task(run)
    model = build_network(run, task.sizes)
    for layer in model.layers:
        system = layer.system()
        assert isinstance(system, DiscreteDiagonal)
        layer.hold(replace(system, lam=torch.full_like(system.lam, 1.2)))
    usual, longer = further_tests(model, task, 0.5, {"32 x length": None})
    assert (usual.name, usual.diverged, usual.state_norms) == ("test", False, (1.0,))
    assert (longer.value, longer.score, longer.diverged) == (32, None, True)
    assert longer.state_norms == (math.inf,)
