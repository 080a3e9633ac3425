"""The effective batch: what is accumulated for it, refused, and said."""

from __future__ import annotations

import pytest
import torch

from ssmbench.config import accumulation, batch_words, fingerprint, merge, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from tests.training.runs import TINY, check, losses, train


def run_of(**over):
    return typed(resolve(merge(TINY | {"task": "digits"}, over)))


@pytest.mark.parametrize(
    ("trainer", "over", "accumulated"),
    [
        ({}, {}, 1),
        ({"accumulate_grad_batches": 3}, {}, 3),
        ({}, {"effective_batch": 4}, 1),
        ({}, {"effective_batch": 12}, 3),
        ({"accumulate_grad_batches": 1}, {"effective_batch": 12}, 3),
        ({"devices": 2}, {"effective_batch": 16}, 2),
        ({"devices": 2, "num_nodes": 2}, {"effective_batch": 16}, 1),
        ({"devices": 2}, {"effective_batch": 16, "sequence_parallel": 2}, 4),
    ],
)
def test_batches_are_accumulated_to_the_effective_batch(trainer, over, accumulated):
    assert accumulation(run_of(trainer=trainer, **over)) == accumulated


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (
            {"batch_size": 64, "effective_batch": 96},
            "96 is not a multiple of batch_size 64; take 64 or 128, or batch_size 48, 32, 24, 16",
        ),
        ({"batch_size": 64, "effective_batch": 7}, "take 64, or batch_size 7, 1"),
        (
            {"trainer": {"devices": 2}, "effective_batch": 12},
            "12 is not a multiple of batch_size 4 on 2 ranks; take 8 or 16, or batch_size 3, 2, 1",
        ),
        ({"trainer": {"devices": 2}, "effective_batch": 9}, "take 8 or 16$"),
        (
            {"trainer": {"accumulate_grad_batches": 2}, "effective_batch": 8},
            "leave trainer.accumulate_grad_batches=2 out",
        ),
        ({"trainer": {"devices": "auto"}, "effective_batch": 8}, "trainer.devices=auto does not"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(over, message):
    with pytest.raises(UsageError, match=f"^effective_batch: .*{message}"):
        check(resolve(merge(TINY | {"task": "digits"}, over)))


def test_more_than_the_training_split_is_refused(tiny, tmp_path):
    with pytest.raises(UsageError, match="effective_batch: 20 is more than the 16 training"):
        train(tiny(effective_batch=20), tmp_path)


def test_it_is_the_same_as_accumulating(tiny, tmp_path):
    asked = train(tiny(effective_batch=8), tmp_path / "asked")
    given = train(tiny(trainer={"accumulate_grad_batches": 2}), tmp_path / "given")
    assert losses(tmp_path / "asked") == losses(tmp_path / "given")
    assert asked.steps == given.steps == 8
    for one, two in zip(asked.module.parameters(), given.module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_runs_without_it_keep_their_fingerprint(tiny):
    config = tiny()
    without = {key: value for key, value in config.items() if key != "effective_batch"}
    assert fingerprint(config) == fingerprint(without) != fingerprint(tiny(effective_batch=8))


def test_it_is_said_in_the_result_in_tensorboard_and_in_a_line(tiny, tmp_path, capfd):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run.of(tiny(effective_batch=8), tmp_path)
    assert execute(run, "label") == "finished"
    assert run.folder.result.effective_batch == 8
    words = "8 sequences a step: batch_size 4 x 2 accumulated"
    assert f"label: {words}\n" in capfd.readouterr().err
    events = EventAccumulator(str(run.folder.path / "tensorboard"))
    events.Reload()
    (text,) = events.Tensors("effective batch/text_summary")
    assert text.tensor_proto.string_val == [words.encode()]


def test_words():
    assert batch_words(64, 1, 1) == "64 sequences a step"
    assert batch_words(8, 4, 2) == "64 sequences a step: batch_size 8 x 4 ranks x 2 accumulated"
