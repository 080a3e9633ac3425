"""Every optimizer under Lightning: it trains, resumes, diverges and is refused as AdamW is."""

from __future__ import annotations

import itertools

import pytest
import torch

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import typed
from ssmbench.errors import UsageError
from ssmbench.optimizers.base import ClosureOptimizer
from tests.training.runs import check, losses, train

OPTIMIZERS = registry.optimizers.names()
#: Few parameters: the Itoh-Abe method evaluates the loss for each of them.
SMALL = {"d_model": 1, "mix": False, "parametrization": {"name": "s4d", "d_state": 2}}
#: One batch an epoch, the same one every time: the loss of all data.
FULL = {"model": SMALL, "batch_size": 16, "trainer": {"max_epochs": 4}}
#: Two steps in each of two epochs.
MORTAL = {
    "model": SMALL | {"parametrization": {"name": "mortal", "d_state": 2}, "dropout": 0.3},
    "task": {"name": "toy", "train": 8},
    "trainer": {"max_epochs": 2},
}


def passes(trained) -> int:
    """Forward passes in training."""
    (block,) = trained.module.model.blocks
    return block.layer.parametrization.passes


def test_the_worked_examples_are_among_them():
    assert {"adam", "adamw", "lion", "sgd", "chebyshev", "itoh_abe", "low_rank_descent"} <= set(
        OPTIMIZERS
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lowers_the_loss_and_writes_it_once_a_step(tiny, tmp_path, name):
    trained = train(tiny(optimizer=name, **FULL), tmp_path)
    written = losses(tmp_path)
    assert list(written) == list(range(4))
    assert trained.steps == 4
    assert written[3] < written[0]


def test_the_loss_written_is_that_from_before_the_step(tiny, tmp_path):
    """The first one does not depend on the optimizer, whatever it tried within the step."""
    first = []
    for name in OPTIMIZERS:
        train(tiny(model=SMALL, optimizer=name, trainer={"max_steps": 1}), tmp_path / name)
        first.append(losses(tmp_path / name)[0])
    assert first == pytest.approx([first[0]] * len(first), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "adamw"])
def test_resumed_run_is_bitwise_the_uninterrupted_one(tiny, tmp_path, monkeypatch, name):
    """It dies within a step of the second epoch."""
    config = tiny(optimizer=name, **MORTAL)
    whole = train(config, tmp_path / "whole")
    monkeypatch.setenv("TOY_DIE_AT", str(passes(whole) - 2))
    with pytest.raises(RuntimeError, match="killed by the test"):
        train(config, tmp_path / "resumed")
    assert (tmp_path / "resumed" / "checkpoints" / "last.ckpt").exists()
    monkeypatch.delenv("TOY_DIE_AT")
    resumed = train(config, tmp_path / "resumed")
    assert 0 < passes(resumed) < passes(whole)
    assert resumed.scores == whole.scores
    for key, value in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[key], value), key
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")


def test_dropout_is_the_same_in_all_evaluations_of_a_step(tiny, tmp_path):
    """Else the loss of a step's batch would not fall: in evaluation order it never rises."""
    seen = []

    class Spy(registry.optimizers.get("itoh_abe").factory):
        def advance(self, closure):
            before, after = super().advance(closure), self.evaluate(closure)
            seen.append((before, after))
            return before

    entry = registry.optimizers.get("itoh_abe")
    with registry.isolated():
        registry.optimizers.register("spy", config=entry.config, summary="spy")(Spy)
        model = SMALL | {"d_model": 2, "dropout": 0.5}
        train(tiny(model=model, optimizer="spy", trainer={"max_steps": 2}), tmp_path)
    assert len(seen) == 2
    assert all(after < before for before, after in seen)


def test_itoh_abe_never_climbs(tiny, tmp_path):
    for step in (1e-2, 1e3):
        rates = {"name": "itoh_abe", "lr": step, "ssm_lr": step}
        train(tiny(optimizer=rates, **FULL), tmp_path / str(step))
        values = list(losses(tmp_path / str(step)).values())
        assert all(b < a for a, b in itertools.pairwise(values)), (step, values)


@pytest.mark.parametrize(("at", "step"), [(0, 0), (1, 0), (3, 1), (7, 2)])
def test_divergence_within_a_step_is_that_step(tiny, tmp_path, at, step):
    model = {"parametrization": {"name": "fuse", "at": at}}
    stages = {"name": "chebyshev", "stages": 3}
    trained = train(tiny(model=model, optimizer=stages), tmp_path)
    assert (trained.diverged_at, trained.steps, trained.scores) == (step, step, None)


def after_steps(
    name: str, parameter: torch.nn.Parameter, gradients: list, **options
) -> torch.Tensor:
    entry = registry.optimizers.get(name)
    groups = [{"params": [parameter], "lr": 0.1, "weight_decay": 0.5}]
    optimizer = entry.build(entry.config(**options), groups=groups)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        optimizer.step()
    return parameter.detach()


def test_lion_moves_as_published():
    start = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    found = after_steps("lion", start, [[3.0, 0.0], [-1.0, 0.0]])
    first = [0.95 * 1 - 0.1, 0.95 * -2]  # the sign of zero is zero
    # m = 0.01 * 3, and 0.9 m - 0.1 is negative
    assert found.tolist() == pytest.approx([0.95 * first[0] + 0.1, 0.95 * first[1]])
    split = after_steps("lion", torch.nn.Parameter(torch.tensor([0j])), [[2 - 5j]])
    assert split.tolist() == pytest.approx([-0.1 + 0.1j])


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_with_its_betas_and_eps(name):
    """The first step, whose bias correction leaves the gradient and its square."""
    options = {"beta1": 0.5, "beta2": 0.75, "eps": 1.0}
    found = after_steps(name, torch.nn.Parameter(torch.tensor([2.0])), [[3.0]], **options)
    gradient, kept = (3.0, 2 * 0.95) if name == "adamw" else (3.0 + 0.5 * 2, 2.0)
    assert found.item() == pytest.approx(kept - 0.1 * gradient / (gradient + 1))


# --- groups by name -----------------------------------------------------------------------------


def test_parameters_have_the_rates_of_the_last_pattern_that_matches(tiny):
    groups = [
        {"pattern": "*.parametrization.*", "weight_decay": 0.3},
        {"pattern": "*.log_dt", "lr": 0.5, "weight_decay": 0},
    ]
    run = typed(tiny(optimizer={"groups": groups}, model={"n_layers": 2}))
    model = build_network(run, build_task(run).sizes)
    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in build_optimizer(model, run.optimizer).param_groups
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        if name.endswith(".log_dt"):
            assert found[id(parameter)] == (0.5, 0), name
        elif ".parametrization." in name:
            assert found[id(parameter)] == (0.01, 0.3), name
        else:
            assert found[id(parameter)] == (0.02, 0.01 if parameter.ndim >= 2 else 0.0), name


def test_a_pattern_that_matches_nothing_is_refused_with_the_names(tiny):
    config = tiny(optimizer={"groups": [{"pattern": "*.lam", "lr": 0.1}]})
    with pytest.raises(UsageError, match=r"matches '\*\.lam'; .*model|blocks\.\*\.layer") as error:
        check(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "groups",
    [
        {"pattern": "*", "lr": 0.1},
        [{"lr": 0.1}],
        [{"pattern": "*"}],
        [{"pattern": "*", "lr": -1}],
        [{"pattern": "*", "lr": "fast"}],
        [{"pattern": "*", "rate": 0.1}],
        ["*"],
    ],
)
def test_bad_groups_are_refused(tiny, groups):
    with pytest.raises(UsageError, match="groups: must be a list of mappings with a pattern"):
        check(tiny(optimizer={"groups": groups}))


# --- what is refused ----------------------------------------------------------------------------


def test_bad_options_are_found_before_training(tiny):
    with pytest.raises(UsageError, match="momentum must be in"):
        check(tiny(optimizer={"name": "sgd", "momentum": 1.0}))
    with pytest.raises(UsageError, match="nesterov needs"):
        check(tiny(optimizer={"name": "sgd", "momentum": 0.0, "nesterov": True}))
    with pytest.raises(UsageError, match="at most 3"):
        check(tiny(optimizer={"name": "itoh_abe", "max_parameters": 3}))


def test_accumulated_batches_are_refused(tiny, tmp_path):
    config = tiny(optimizer="chebyshev", trainer={"accumulate_grad_batches": 2})
    with pytest.raises(UsageError, match="raise batch_size instead"):
        train(config, tmp_path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_cannot_do_is_said(tiny, name):
    entry = registry.optimizers.get(name)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = entry.build(groups=[{"params": [weight], "lr": 0.1, "weight_decay": 0.0}])
    if not isinstance(optimizer, ClosureOptimizer):
        optimizer.step()
        return
    with pytest.raises(UsageError, match="several times per step, which"):
        optimizer.step()
    optimizer.check_trainer(processes=1, accumulated=1)
    if optimizer.one_process:
        with pytest.raises(UsageError, match="differ from rank to rank"):
            optimizer.check_trainer(processes=2, accumulated=1)
    else:
        optimizer.check_trainer(processes=2, accumulated=1)
