"""Truncation in training: at the end of some epochs every SSM layer is reduced, and the layers that
are left hold matrices of their own (``discrete_matrices``), which are trained further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy

from ssmbench.analysis.hinf import usable_heads
from ssmbench.build.check import check_even
from ssmbench.build.network import build_network
from ssmbench.build.recorded import recorded_inputs
from ssmbench.build.stored import with_stored_layers
from ssmbench.build.truncation import amount_of, reducer_of
from ssmbench.config import RunConfig
from ssmbench.errors import UsageError, require
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.reduced_layers import reduced_layer
from ssmbench.nn.stored_systems import StoredForm, StoredSystems
from ssmbench.parametrizations.matrices import FORMS
from ssmbench.reduction import Amount, RecordedInputs, Reducer, Reduction
from ssmbench.reduction.errors import measured_errors
from ssmbench.results import TruncatedLayer, Truncation
from ssmbench.systems import DiscreteLTI
from ssmbench.tasks.base import Task
from ssmbench.training.checkpoints import BestCheckpoint
from ssmbench.training.module import SequenceModule
from ssmbench.training.new_parameters import take_new_parameters

#: The key of the truncations so far in a checkpoint.
TRUNCATIONS = "truncations"
#: The largest option ``d_state``.
_MOST_STATES = 2**20


def truncations_in(checkpoint: Mapping[str, Any], source: str) -> tuple[Truncation, ...]:
    """The truncations before a checkpoint was written, the first one first.

    Raises:
        ResultError: they are not of their form; ``source`` begins the message.
    """
    found = checkpoint.get(TRUNCATIONS, ())
    return tuple(Truncation.from_dict(one, f"{source}: {TRUNCATIONS}") for one in found)


def as_truncated(run: RunConfig, truncations: Sequence[Truncation]) -> RunConfig:
    """The config whose network has the layers that the truncations left.

    Raises:
        UsageError: no network can have them.
    """
    if not truncations:
        return run
    last = truncations[-1]
    check_stored_form(TRUNCATIONS, last)
    return with_stored_layers(run, StoredForm(last.form, last.heads, last.states))


def check_stored_form(where: str, one: Truncation) -> None:
    """Raise a UsageError, which begins with ``where``, unless form, heads and states of a record
    are values that ``discrete_matrices`` has."""
    require(one.form in FORMS, f"{where}: form is {one.form!r:.40}, not {', '.join(FORMS)}")
    require(one.heads >= 1, f"{where}: heads must be positive, got {one.heads!s:.40}")
    sizes = bool(one.states) and all(0 < n <= _MOST_STATES for n in one.states)
    require(
        sizes,
        f"{where}: states must have a number in 1..{_MOST_STATES} for each block, got "
        f"{list(one.states)!s:.60}",
    )


def truncate(
    model: SequenceModel, run: RunConfig, task: Task
) -> tuple[StoredForm, tuple[TruncatedLayer, ...]]:
    """Reduce all layers of a network as ``run.truncation`` says, in place; all its other parameters
    are left as they are.

    A layer that cannot be reduced at present, as an unstable one, keeps its states. Where all are
    stable and have modes, they stay so: poles are stored by decay and angle.
    """
    config = run.truncation
    reducer, amount = reducer_of(config), amount_of(config)
    name = config.reducer["name"] if config.reducer else "balanced_truncation"
    try:
        inputs, refused = recorded_inputs(model, reducer, name, task), ""
    except UsageError as error:  # an unstable layer makes the inputs of the next ones overflow
        inputs, refused = {}, str(error)
    before = [layer.system().detach() for layer in model.layers]
    found = [
        f"layer {i}: {refused}"
        if refused
        else _reduced(f"layer {i}", layer, reducer, amount, inputs.get(layer))
        for i, layer in enumerate(model.layers)
    ]
    systems: dict[SSMLayer, DiscreteLTI] = {
        layer: own if isinstance(one, str) else one.system
        for layer, own, one in zip(model.layers, before, found, strict=True)
    }
    stored = StoredSystems.of(model, systems).stable()
    shape = stored.shape(model)
    with torch.random.fork_rng(devices=[]):
        fresh = build_network(with_stored_layers(run, shape), task.sizes)
    _take_layers(model, fresh, stored)
    return shape, tuple(map(_record, found, before, model.layers))


@torch.no_grad()
def _reduced(
    name: str,
    layer: SSMLayer,
    reducer: Reducer,
    amount: Amount,
    inputs: RecordedInputs | None,
) -> Reduction | str:
    """The reduction of a layer, or why it keeps all its states."""
    try:
        return reduced_layer(name, layer, reducer, amount, inputs)
    except UsageError as error:
        return str(error)


@torch.no_grad()
def _record(found: Reduction | str, before: DiscreteLTI, layer: SSMLayer) -> TruncatedLayer:
    """With the errors of the matrices that the layer now holds, in its form and precision."""
    stable = bool(usable_heads(before.double()).all())
    hinf, h2 = measured_errors(before, layer.system().detach()) if stable else (None, None)
    if isinstance(found, str):
        return TruncatedLayer(
            heads=before.heads,
            order=before.order,
            kept=before.order,
            mean_kept=float(before.order),
            bound=0.0,
            above_bound=0,
            hinf_error=0.0 if hinf is None else float(hinf.max()),
            h2_error=0.0 if h2 is None else float(h2.max()),
            reason=found,
        )
    assert hinf is not None, "what is reduced is stable"
    assert h2 is not None, "both are measured together"
    held = replace(found, hinf_error=hinf, h2_error=h2)
    return TruncatedLayer(
        heads=len(held.orders),
        order=held.order,
        kept=int(held.orders.max()),
        mean_kept=float(held.orders.double().mean()),
        bound=float(held.bound.max()),
        above_bound=int(held.above_bound.sum()),
        hinf_error=float(hinf.max()),
        h2_error=float(h2.max()),
    )


@torch.no_grad()
def _take_layers(model: SequenceModel, fresh: SequenceModel, stored: StoredSystems) -> None:
    """Put the layers of ``fresh``, with the stored systems, in the places of the model's own."""
    modules = list(model.named_modules(remove_duplicate=False))
    for name, old in [(name, m) for name, m in modules if isinstance(m, SSMLayer)]:
        new = fresh.get_submodule(name)
        assert isinstance(new, SSMLayer), "both networks have the same blocks"
        like = next(old.parameters())
        new.to(like.device, like.dtype).train(old.training)
        for key, value in stored.parameters(old).items():
            getattr(new.parametrization, key).copy_(value)
        place, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(place), attribute, new)


class Truncating(Checkpoint):
    """Truncates at the end of the epochs that a run names, ``done`` being the truncations before it
    was resumed.

    A ``Checkpoint``, so that it is called after the other callbacks of an epoch's end: what these
    log, and the best weights that they save, are those that were validated. It must stand before
    the callback that saves the state to resume from, and after :class:`BestCheckpoint`.

    Raises:
        UsageError: in ``on_fit_start``: the epochs are not all before the end of the training, or
            there are several processes or averaged weights.
    """

    def __init__(self, run: RunConfig, task: Task, best: Path, done: Sequence[Truncation] = ()):
        self._run, self._task, self._best = run, task, best
        self.done = list(done)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        single = isinstance(trainer.strategy, SingleDeviceStrategy)
        require(single, "truncation: a run that truncates has one process; set trainer.devices=1")
        averaged = any(isinstance(callback, WeightAveraging) for callback in _callbacks(trainer))
        require(not averaged, "truncation: there are no averages (ema) over different parameters")
        if pl_module.budget is not None:
            return
        steps, last = pl_module.steps_per_epoch(), self._run.truncation.epochs[-1]
        total = pl_module.total_steps()
        require(
            last * steps < total,
            f"truncation.epochs: epoch {last} must be followed by training, but this run ends with "
            f"epoch {-(-total // steps)}",
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        epoch = trainer.current_epoch + 1
        known = epoch in (one.epoch for one in self.done)
        if epoch not in self._run.truncation.epochs or known or pl_module.is_complete():
            return
        if not is_finite(pl_module.model):  # the next step ends the run as diverged
            return
        pl_module.doing = "the truncation of the SSM layers"
        self.done.append(self._truncated(trainer, pl_module, epoch))
        for callback in _callbacks(trainer):
            forget = getattr(callback, "forget_scores", None)
            if forget is not None:
                forget()

    def _truncated(self, trainer: pl.Trainer, module: SequenceModule, epoch: int) -> Truncation:
        shape, layers = truncate(module.model, self._run, self._task)
        take_new_parameters(trainer, module)
        for logger in trainer.loggers:
            logger.log_metrics(_figures(layers), step=trainer.global_step)
        return Truncation(
            epoch=epoch,
            step=trainer.global_step,
            form=shape.form,
            heads=shape.heads,
            states=shape.states,
            layers=layers,
            parameters=module.model.parameter_count(),
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[TRUNCATIONS] = [one.to_dict() for one in self.done]

    def on_train_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        """Delete the best weights from before the last truncation, where none were validated since:
        they would be taken for those of the result."""
        best = next(c for c in _callbacks(trainer) if isinstance(c, BestCheckpoint))
        if self.done and not best.best_model_path:
            self._best.unlink(missing_ok=True)

    @property
    def note(self) -> str:
        """Which truncations the training ended before, for the run's result; "" if there are
        none."""
        done = {one.epoch for one in self.done}
        missed = [str(epoch) for epoch in self._run.truncation.epochs if epoch not in done]
        if not missed:
            return ""
        return f"truncation: the training ended before the end of epoch {', '.join(missed)}"


def truncating(
    run: RunConfig, task: Task, best: Path, checkpoint: Mapping[str, Any]
) -> list[Truncating]:
    """The callback of a run that truncates, resumed from a checkpoint; none of another run.

    Raises:
        UsageError: the samples of a split are at uneven times.
    """
    if not run.truncation.epochs:
        return []
    check_even(task, "the layers cannot be truncated")
    return [Truncating(run, task, best, truncations_in(checkpoint, "checkpoint"))]


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]


def _figures(layers: Sequence[TruncatedLayer]) -> dict[str, float]:
    found: dict[str, float] = {}
    for index, layer in enumerate(layers):
        found[f"layer{index}/order_kept"] = layer.mean_kept
        found[f"layer{index}/truncation_bound"] = layer.bound
        found[f"layer{index}/truncation_error"] = layer.hinf_error
    return found
