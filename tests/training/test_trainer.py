"""From a config to a trained network: determinism, divergence, trainer settings, refusals."""

from __future__ import annotations

import logging
import math
import warnings

import pytest
import torch

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import Residual
from ssmbench.nn.norms.stepwise import LayerNorm
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.environment import is_main_process
from ssmbench.training.trainer_options import check_trainer_options
from tests.strict_json import strict_json
from tests.training.runs import check, losses, rows, train

INFINITE = ("verified", "attacked", "spectral_radius")


def result_of(config, root) -> dict:
    """The result of a run, from its file; strict JSON, in which no figure is NaN."""
    execute(Run.of(config, root))
    text = (Run.of(config, root).folder.path / "result.json").read_text()
    assert '"nan"' not in text
    return strict_json(text)


def model_with(parametrization: str) -> dict:
    if parametrization == "l2ru":
        return {"parametrization": "l2ru", "discretizer": None}
    return {"parametrization": {"name": parametrization, "d_state": 4}}


# --- determinism ----------------------------------------------------------------------------


def test_same_config_gives_the_same_run(tiny, tmp_path):
    first = result_of(tiny(model={"dropout": 0.2}), tmp_path / "a")
    torch.rand(7)  # what happened before in the process does not matter
    second = result_of(tiny(model={"dropout": 0.2}), tmp_path / "b")
    assert first["scores"] == second["scores"]
    assert first["gain"] == second["gain"]


def test_another_seed_gives_another_run(tiny, tmp_path):
    assert result_of(tiny(), tmp_path)["scores"] != result_of(tiny(seed=1), tmp_path)["scores"]


def test_seed_draws_the_initial_weights(tiny, tmp_path):
    first, same, other = (
        train(tiny(seed=seed, trainer={"max_epochs": 0}), tmp_path / str(k)).module.state_dict()
        for k, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["model.encoder.weight"], other["model.encoder.weight"])


def test_checking_a_config_draws_no_random_numbers(tiny):
    before = torch.get_rng_state()
    check(tiny())
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_loss(tiny, tmp_path):
    config = tiny(trainer={"max_epochs": 15}, task={"name": "toy", "per_step": True})
    train(config, tmp_path)
    curve = list(losses(tmp_path).values())
    assert sum(curve[-8:]) < 0.7 * sum(curve[:8])


def test_best_weights_are_scored_and_returned(tiny, tmp_path):
    """The first epoch is the best: later weights score worse."""
    config = tiny(task={"name": "toy", "misled": True, "per_step": True})
    trained = train(config, tmp_path)
    curve = [r["val/rmse"] for r in rows(tmp_path) if "val/rmse" in r][:-1]
    assert trained.scores.val == min(curve) < curve[-1]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    weights = trained.module.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in best.items())


# --- divergence -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parametrization", ["s4d", "unconstrained_dense", "unconstrained_diagonal"]
)
def test_forward_euler_with_large_steps_diverges(tiny, tmp_path, parametrization):
    options = {"name": parametrization, "d_state": 4, "dt_min": 100.0, "dt_max": 200.0}
    model = {"parametrization": options, "discretizer": "forward_euler"}
    result = result_of(tiny(model=model, task={"name": "toy", "length": 32}), tmp_path)
    assert result["status"] == "diverged"
    assert result["diverged_at"] == 0
    assert result["scores"] is None
    assert result["gain"]["verified"] == math.inf
    assert result["gain"]["attacked"] == math.inf
    assert result["gain"]["spectral_radius"] > 1


@pytest.mark.parametrize("step", [0, 1, 5, 15])
def test_reports_the_step_of_the_first_loss_that_is_not_finite(tiny, tmp_path, step):
    config = tiny(model={"parametrization": {"name": "fuse", "d_state": 4, "at": step}})
    trained = train(config, tmp_path)
    assert (trained.diverged_at, trained.steps, trained.scores) == (step, step, None)
    assert step == 0 or list(losses(tmp_path)) == list(range(step))


@pytest.mark.parametrize("split", ["val", "test"])
def test_reports_predictions_that_are_not_finite_in_evaluation_alone(tiny, tmp_path, split):
    trained = train(tiny(task={"name": "toy", "overflow_in": split}), tmp_path)
    assert trained.scores is None
    assert trained.diverged_at == {"val": 4, "test": 16}[split]


def test_a_model_that_breaks_in_evaluation_has_diverged(tiny, tmp_path):
    config = tiny(model={"parametrization": {"name": "overflow_in_eval", "d_state": 4}})
    result = result_of(config, tmp_path)
    assert (result["status"], result["diverged_at"]) == ("diverged", 4)
    assert all(result["gain"][key] == math.inf for key in INFINITE)


@pytest.mark.parametrize("parametrization", ["s4d", "unconstrained_dense", "l2ru"])
def test_a_learning_rate_out_of_all_bounds_diverges(tiny, tmp_path, parametrization):
    rates = {"lr": 1e30, "ssm_lr": 1e30}
    result = result_of(tiny(model=model_with(parametrization), optimizer=rates), tmp_path)
    assert (result["status"], result["diverged_at"]) == ("diverged", 1)
    assert result["gain"]["violations"] == [], "numbers beyond float32 break no promise"


@pytest.mark.parametrize("parametrization", ["s4d", "unconstrained_dense", "l2ru"])
def test_lost_weights_are_divergence(tiny, tmp_path, lose_weights, parametrization):
    """Also where a factorization refuses the parameters that are not finite: no crash."""
    lose_weights(5)
    result = result_of(tiny(model=model_with(parametrization)), tmp_path)
    assert (result["status"], result["diverged_at"]) == ("diverged", 6)
    assert all(result["gain"][key] == math.inf for key in INFINITE)
    assert result["gain"]["margin"] == -math.inf
    assert result["gain"]["network"]["bound"] == math.inf
    assert result["gain"]["network"]["reason"]
    assert result["gain"]["violations"] == [], "no promise was made for such parameters"


def test_a_failed_factorization_of_finite_parameters_is_no_divergence(tiny, tmp_path, monkeypatch):
    def refuse(self, u, dt=None):
        raise torch.linalg.LinAlgError("not positive-definite")

    monkeypatch.setattr("ssmbench.nn.layer.SSMLayer.forward", refuse)
    with pytest.raises(torch.linalg.LinAlgError):
        train(tiny(), tmp_path)


# --- settings that go straight to Lightning ----------------------------------------------------


@pytest.mark.parametrize("parametrization", ["s4d", "unconstrained_dense", "l2ru"])
@pytest.mark.parametrize("precision", ["bf16", "bf16-mixed", "64-true"])
def test_precisions(tiny, tmp_path, precision, parametrization):
    config = tiny(model=model_with(parametrization), trainer={"precision": precision})
    result = result_of(config, tmp_path)
    assert result["status"] == "finished"
    assert result["scores"].pop("further") == {}
    assert all(math.isfinite(score) for score in result["scores"].values())
    assert result["gain"]["violations"] == []
    assert ("16-bit" in "".join(result["warnings"])) is (precision != "64-true")


def test_double_precision_is_used_throughout(tiny, tmp_path):
    trained = train(tiny(trainer={"precision": "64-true"}), tmp_path)
    assert {p.dtype for p in trained.module.parameters()} == {torch.float64}


def test_accumulated_batches_make_fewer_steps(tiny, tmp_path):
    assert train(tiny(trainer={"accumulate_grad_batches": 2}), tmp_path).steps == 8


def test_gradient_clipping_reaches_the_gradients(tiny, tmp_path, monkeypatch):
    """Adam is blind to the gradient's size: what it was given must be looked at."""
    sizes, step = [], torch.optim.AdamW.step

    def spy(self, closure=None):
        loss = closure()
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        sizes.append(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])).item())
        return step(self, lambda: loss)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(tiny(trainer={"gradient_clip_val": 1e-3}), tmp_path)
    assert sizes
    assert max(sizes) <= 1.001e-3


@pytest.mark.parametrize("steps", [3, 4, 10])
def test_steps_instead_of_epochs(tiny, tmp_path, steps):
    trained = train(tiny(trainer={"max_epochs": -1, "max_steps": steps}), tmp_path)
    assert trained.steps == steps
    assert math.isfinite(trained.scores.test)


def test_no_epochs_scores_the_initial_network(tiny, tmp_path):
    trained = train(tiny(trainer={"max_epochs": 0}), tmp_path)
    assert (trained.steps, trained.steps_per_second) == (0, None)
    assert math.isfinite(trained.scores.test)


# --- refusals: one sentence that names the setting ------------------------------------------------

REFUSED = {
    "unknown": ({"max_epoch": 3}, r"trainer\.max_epoch: no such .*'max_epochs'"),
    "reserved": ({"logger": False}, r"trainer\.logger: is set by ssmbench"),
    "wrong type": ({"max_epochs": "many"}, r"max_epochs: must be a whole number .* got 'many'"),
    "truth for a number": ({"gradient_clip_val": True}, r"trainer\.gradient_clip_val: .* got True"),
    "half parameters": ({"precision": "bf16-true"}, r"trainer\.precision: .*bf16-mixed"),
}
REFUSED_WITH_THE_TASK = {
    "endless": ({"max_epochs": -1}, "needs an end"),
    "all GPUs of a CPU": ({"devices": -1}, "trainer: `devices` .* should be an int > 0"),
    "no training batch": ({"limit_train_batches": 0.1}, "limit_train_batches: 0.1 of 4 batches is"),
    "no validation batch": ({"limit_val_batches": 0.1}, "limit_val_batches: 0.1 of . batch.* is"),
    "no test batch": ({"limit_test_batches": 0.1}, "limit_test_batches: 0.1 of . batch.* is"),
    "no batch to overfit": ({"overfit_batches": 0.1}, "overfit_batches: 0.1 of 4 batches is"),
    "validation after the epoch": ({"val_check_interval": 9}, "val_check_interval: .* at most 4"),
}

#: Values that an argument must not have, and what the message says besides the argument's name.
BAD_VALUES = {
    "accelerator": (["gpuu", "", 1, None], "is not a choice"),
    "accumulate_grad_batches": ([0, -1, True, 1.5, "2", None], "whole number of at least 1, got"),
    "barebones": ([True, "yes"], "false"),
    "check_val_every_n_epoch": ([0, -1, True], "whole number of at least 1, got"),
    "detect_anomaly": ([1, "yes"], "true or false, got"),
    "deterministic": ([1, "yes"], "true or false or warn or null, got"),
    "devices": (
        [0, -2, "0", "-2", "", "two", "1x", True, 1.5, [], [-1], [0, 0], "1,1", ",", None, {}],
        "must be auto, a whole number of at least 1, -1 for all GPUs, or a list of GPU indices",
    ),
    "fast_dev_run": ([True, 3, -1], "false"),
    "gradient_clip_algorithm": (["norm2", "", 1], "is not a choice"),
    "gradient_clip_val": ([-1.0, True, "1"], "a number of at least 0, got"),
    "limit_test_batches": ([0, -1, 1.5, 0.0, True, "all"], "whole number of batches from 1"),
    "limit_train_batches": ([0, -1, 1.5, 0.0, True, "all"], "whole number of batches from 1"),
    "limit_val_batches": ([0, -1, 1.5, 0.0, True, "all"], "whole number of batches from 1"),
    "log_every_n_steps": ([-1, True], "whole number of at least 0, got"),
    "max_epochs": ([-2, True, 1.5, "3"], "whole number of at least -1, got"),
    "max_steps": ([-2, True, 1.5, None], "whole number of at least -1, got"),
    "max_time": (
        ["x", "-1", "00:00:00:00", 5, {}, {"hours": 0}, {"hours": -1}, {"parsecs": 1}],
        "positive duration",
    ),
    "min_epochs": ([-1, True], "whole number of at least 0, got"),
    "min_steps": ([-1, True], "whole number of at least 0, got"),
    "num_nodes": ([0, -1, True, "1", None], "whole number of at least 1, got"),
    "overfit_batches": ([-1, 1.5, True], "whole number of batches"),
    "plugins": (["x", ["x"]], "null, got"),
    "precision": (["half", "", 8, True, 16.0], "is not a choice; "),
    "profiler": (["x", 1], "is not a choice"),
    "reload_dataloaders_every_n_epochs": ([-1, None], "whole number of at least 0, got"),
    "strategy": (["ddpp", "ddp_spawn", "", 1, None], "is not a choice"),
    "timeout": (["x", "00:00:00:00", 5, {"hours": 0}], "positive duration"),
    "val_check_interval": ([0, -1, 1.5, "x", "00:00:00:00", {"hours": 0}], "positive duration"),
}
GOOD_VALUES = {
    "accelerator": ["auto", "cpu", "gpu"],
    "devices": ["auto", 1, "2", -1, [0], [1, 3], "0,1", "1,"],
    "gradient_clip_val": [0, 0.5, None],
    "limit_val_batches": [1, 1.0, 0.5, None],
    "max_epochs": [0, 3, None],
    "max_time": ["00:00:00:01", {"hours": 2}, None],
    "precision": ["16-mixed", "bf16-mixed", "32-true", "64-true", 16, 32, "64", "bf16", None],
    "strategy": ["auto", "ddp"],
    "timeout": ["00:00:30:00", {"minutes": 30}, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_VALUES for value in BAD_VALUES[name][0]]
)
def test_value_that_a_trainer_argument_must_not_have(name, value):
    with pytest.raises(UsageError) as caught:
        check_trainer_options({name: value})
    assert str(caught.value).startswith(f"trainer.{name}: ")
    assert BAD_VALUES[name][1] in str(caught.value)
    assert "Exception" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD_VALUES)
def test_values_of_a_trainer_argument(name):
    for value in GOOD_VALUES[name]:
        check_trainer_options({name: value})


@pytest.mark.parametrize(("options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_check_refuses(tiny, tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        check(tiny(trainer=options))
    with pytest.raises(UsageError, match=sentence):
        train(tiny(trainer=options), tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"), REFUSED_WITH_THE_TASK.values(), ids=REFUSED_WITH_THE_TASK
)
def test_options_that_do_not_fit_machine_or_task(tiny, tmp_path, options, sentence):
    """One sentence, before the first step."""
    with pytest.raises(UsageError, match=sentence) as caught:
        train(tiny(trainer=options), tmp_path)
    assert "\n" not in str(caught.value)
    assert "Exception" not in str(caught.value)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range(tiny, seed):
    with pytest.raises(UsageError, match=f"seed: .*{seed}"):
        check(tiny(seed=seed))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"norm": "layr"}, r"unknown norm 'layr': .*'layer'"),
        ({"pooling": "max"}, r"model\.pooling: 'max'"),
        ({"discretizer": None}, "continuous-time"),
        ({"parametrization": "l2ru"}, "L2RU takes no discretizer"),
    ],
)
def test_model_options_that_do_not_fit(tiny, model, sentence):
    with pytest.raises(UsageError, match=sentence):
        check(tiny(model=model))


# --- the parts of a run ------------------------------------------------------------------------


def test_model_is_built_as_the_config_says(tiny):
    model = {"n_layers": 3, "d_model": 4, "norm": "layer", "mix": False, "residual": "none"}
    config = tiny(model=model | {"nonlinearity": "tanh", "dropout": 0.5, "pooling": "last"})
    from ssmbench.config import typed

    run = typed(config)
    network = build_network(run, build_task(run).sizes)
    assert len(network.layers) == 3
    block = network.blocks[0]
    assert isinstance(block.norm, LayerNorm)
    assert isinstance(block.mix, torch.nn.Identity)
    assert (block.residual, block.dropout.p) == (Residual.none, 0.5)
    assert type(block.nonlinearity).__name__ == "Tanh"
    assert network.pooling.name == "last"


def test_per_step_task_is_not_pooled(tiny):
    from ssmbench.config import typed

    run = typed(tiny(task={"name": "toy", "per_step": True}))
    assert build_network(run, build_task(run).sizes).pooling is None


def test_this_process_is_the_main_one():
    assert is_main_process()


def test_tensorboard_gets_what_the_metrics_file_gets(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    board = {e.step: e.value for e in events.Scalars("train/loss")}
    assert board == pytest.approx(losses(tmp_path))
    assert "val/rmse" in events.Tags()["scalars"]


# --- manners ------------------------------------------------------------------------------------


def test_training_leaves_warning_filters_and_log_levels_as_they_were(tiny, tmp_path):
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]

    def settings():
        return list(warnings.filters), [logger.level for logger in loggers]

    before = settings()
    check(tiny())
    train(tiny(), tmp_path)
    assert settings() == before
