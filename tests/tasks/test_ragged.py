"""Sequences of different lengths, tokens and pairs: from one file to a measured network."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import fingerprint, resolve, typed
from ssmbench.errors import UsageError
from ssmbench.runs.load import measure_task_gains
from ssmbench.tasks.sequences import PaddedSequences
from ssmbench.testing import conform
from ssmbench.training.robustness import robustness
from ssmbench.training.trainer import train

FILE = Path(__file__).parent / "ragged.py"
NAMES = ("toy_uneven", "toy_tokens", "toy_pairs")


@pytest.fixture(autouse=True)
def _plugin():
    with registry.isolated():
        registry.import_file(FILE)
        yield


def run_of(task: str, **model):
    config = {
        "task": task,
        "model": {"d_model": 4, "n_layers": 1, "discretizer": "zoh"} | model,
        "analysis": {"attack_steps": 3, "attack_restarts": 2, "robustness_sequences": 8},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 1},
        "batch_size": 8,
    }
    return typed(resolve(config))


def built(run):
    torch.manual_seed(0)
    return build_network(run, build_task(run).sizes).double().eval()


@pytest.mark.parametrize("name", NAMES)
def test_the_task_conforms(name):
    report = conform(registry.tasks.get(name))
    skipped = {check.name for check in report.checks if check.skipped}
    assert ("padding has no influence" in skipped) == (name != "toy_uneven")


@pytest.mark.parametrize("name", NAMES)
def test_trained_scored_measured_and_disturbed(name, tmp_path):
    run = run_of(name)
    trained = train(run, tmp_path)
    assert math.isfinite(trained.scores.val + trained.scores.test)
    model = trained.module.model
    network = measure_task_gains(model, trained.task, run.analysis).gain.network
    assert network.gains_from == ("input" if name == "toy_uneven" else "encoded input")
    assert 0 < network.attacked < math.inf
    assert (network.bound == math.inf) == (name == "toy_pairs")
    points = robustness(model, trained.task, run.analysis)
    assert all(math.isfinite(point.score) for point in points)


@pytest.mark.parametrize("name", NAMES)
def test_a_padded_batch_predicts_what_each_sequence_does_alone(name):
    run = run_of(name)
    model, data = built(run), build_task(run).split("train")
    together = data.batch(range(8)).to(dtype=torch.float64)
    found = model(*together[:1], together.lengths, together.dt)
    for index in range(8):
        alone = data.batch([index]).to(dtype=torch.float64)
        expected = model(alone.u, alone.lengths, alone.dt)[0]
        row = found[index, : len(expected)] if name == "toy_uneven" else found[index]
        torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["toy_tokens", "toy_pairs"])
@pytest.mark.parametrize("encoder", ["embedding", "embedding_positions"])
def test_tokens_in_the_padding_change_no_prediction_and_no_gradient(name, encoder):
    run = run_of(name, encoder=encoder)
    model, batch = built(run), build_task(run).sample("train")
    steps = torch.arange(batch.u.shape[-1])
    other = batch.u.masked_fill(steps >= batch.lengths[..., None], 5)
    assert not torch.equal(other, batch.u)
    gradients = []
    for u in (batch.u, other):
        loss = model(u, batch.lengths).square().sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("name", ["toy_tokens", "toy_pairs"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_a_stream_with_positions_is_the_whole(name, positions):
    run = run_of(name, encoder={"name": "embedding_positions", "positions": positions})
    model = built(run)
    pair = (2,) if name == "toy_pairs" else ()
    u = torch.randint(6, (3, *pair, 12), generator=torch.Generator().manual_seed(0))
    state = None
    for chunk in u.split([5, 1, 6], -1):
        y, state = model.stream(chunk, state)
    torch.testing.assert_close(y, model(u), rtol=1e-9, atol=1e-12)
    if positions == "learned":
        with pytest.raises(UsageError, match="positions=sinusoidal"):
            model.stream(u[..., :1], state)


@pytest.mark.parametrize("name", NAMES)
def test_after_the_encoder_is_the_same_network(name):
    run = run_of(name)
    model, batch = built(run), build_task(run).sample("train").to(dtype=torch.float64)
    x = model.encode(batch.u, batch.lengths)
    found = model.from_encoded(x, batch.lengths, batch.dt)
    torch.testing.assert_close(found, model(batch.u, batch.lengths, batch.dt))


# --- what is chosen, and what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "chosen", "words"),
    [
        (
            "toy_tokens",
            {"encoder": "linear"},
            "choose embedding, embedding_positions, one_hot or null",
        ),
        ("toy_uneven", {"encoder": "embedding"}, "choose bounded_linear, linear or null"),
        ("toy_uneven", {"decoder": "pooled"}, "choose per_step or null"),
        ("toy_pairs", {"decoder": "pooled"}, "choose pair or null"),
        ("toy_pairs", {"parametrization": "l2ru", "discretizer": None, "gamma": 1.0}, "pair"),
    ],
)
def test_an_end_that_does_not_fit_is_refused_with_what_does(task, chosen, words):
    with pytest.raises(UsageError, match=words) as caught:
        built(run_of(task, **chosen))
    assert "\n" not in str(caught.value)


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(UsageError, match=r"0\.\.5.*9"):
        built(run_of("toy_tokens"))(torch.tensor([[1, 9]]))


def test_null_ends_leave_a_runs_name_and_others_do_not():
    config = {"task": "digits", "model": {"discretizer": "zoh"}}
    assert fingerprint(resolve(config)) == "df1c3de42702"  # as before there were encoders
    named = {"task": "digits", "model": {"discretizer": "zoh", "encoder": "linear"}}
    assert fingerprint(resolve(named)) != "df1c3de42702"


def test_checkpoints_of_before_encoders_and_decoders_were_kinds_fit():
    torch.manual_seed(0)
    run = typed(resolve({"task": "digits", "model": {"discretizer": "zoh", "n_layers": 1}}))
    model = build_network(run, build_task(run).sizes)
    keys = list(model.state_dict())
    assert keys[:2] == ["encoder.weight", "encoder.bias"]
    assert keys[-2:] == ["decoder.weight", "decoder.bias"]
    assert all(key.startswith("blocks.0.") for key in keys[2:-2])


def test_a_memory_mapped_file_is_read_as_an_array_in_memory(tmp_path):
    import numpy as np

    values = np.arange(20, dtype=np.int16)
    np.save(tmp_path / "tokens.npy", values)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    offsets, target = [0, 3, 4, 20], torch.arange(3)
    batches = [PaddedSequences(v, offsets, target).batch([2, 0]) for v in (values, mapped)]
    assert all(map(torch.equal, batches[0][:3], batches[1][:3]))
    assert batches[0].u.dtype == torch.int64
    assert batches[0].lengths.tolist() == [16, 3]
    assert batches[0].u[1].tolist() == [0, 1, 2] + 13 * [0]
