"""Keeping ``model.gamma`` by a proved bound of the whole network, which is often far below the
product of its parts' gains.

The bound is proportional to the decoder's gain. So the network's product is relaxed by the factor
with which the bound, proved anew with that decoder, is at most gamma. That is done before each
validation and at the end of the training: every network that is validated, chosen or tested keeps
gamma, and the training loss sees logits of nearly the scale that they have in the end. The factor
follows from the parameters alone, so that a run that is resumed has the same one.
"""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn

from ssmbench.analysis.network_bound import NetworkBound
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, Pair
from ssmbench.tasks.base import Task
from ssmbench.training.module import SequenceModule
from ssmbench.training.network_bound import tighter_bound

#: The share of gamma that is left for what another search, on another computer, may find.
_LEFT = 1e-3
#: How often a factor that rounding makes too large by a trifle is lowered.
_ATTEMPTS = 3


def promised_lengths(task: Task, *, per_step: bool) -> tuple[int, ...]:
    """The lengths of sequences for which gamma is kept, in samples, the shortest first: all those
    of the training, validation and test split; the longest covers the others where predictions are
    made at each step."""
    found: set[int] = set()
    for name in ("train", "val", "test"):
        data = task.split(name)
        if len(data) == 0:
            continue
        if data.lengths is not None:
            found |= {int(length) for length in data.lengths.flatten()}
            continue
        pair = isinstance(task.sizes.input, Pair)
        found.add(int(data.batch([0]).u.shape[2 if pair else 1]))
    return (max(found),) if per_step else tuple(sorted(found))


def relax(model: SequenceModel, task: Task, budget: float) -> str:
    """Let a network keep its gamma by the bound that so many billions of multiplications find.

    Returns why the product keeps it instead, as it does where no smaller bound is proved; "" if it
    does not.
    """
    relaxation = model.relaxation
    assert relaxation is not None, "asked of networks with a relaxation only"
    assert model.gamma is not None, "checked when the network was built"
    relaxation.set(1.0)
    if not is_finite(model):
        return "a parameter is not finite"
    lengths = promised_lengths(task, per_step=model.pooling is None)
    first = _bound(model, task, lengths, budget)
    factor = model.gamma / first.gain * (1 - _LEFT)
    for _ in range(_ATTEMPTS):
        if not factor > 1:
            break
        relaxation.set(factor)
        proved = _bound(model, task, lengths, budget, first)
        if proved.gain <= model.gamma:
            relaxation.set(factor, proved=model.digest())
            return ""
        factor *= model.gamma / proved.gain * (1 - _LEFT)
    relaxation.set(1.0)
    return first.reason or "the product is not larger"


def _bound(
    model: SequenceModel,
    task: Task,
    lengths: tuple[int, ...],
    budget: float,
    found: NetworkBound | None = None,
) -> NetworkBound:
    """The tighter bound, from what the layers declare; by the multipliers that were ``found``."""
    gains = [layer.declared_gain() for layer in model.layers]
    kind = task.sizes.input
    channels = kind.count if isinstance(kind, Channels) else 0
    product = model.bound(gains, min(lengths))
    known = None if found is None else found.multipliers
    return tighter_bound(freeze(model), product, gains, channels, lengths, budget, known)


class Relaxing(pl.Callback):
    """Calls :func:`relax` at the start, before each validation, and at the end of each epoch and
    of the training for parameters of which nothing is proved yet."""

    def __init__(self, task: Task, budget: float):
        self._task, self._budget = task, budget

    def on_train_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if trainer.global_step == 0:
            self._relax(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._relax(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        changed = pl_module.model.declared_gain is None
        if trainer.strategy.broadcast(changed):  # ranks may differ in a buffer, and none must wait
            self._relax(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        self._relax(trainer, pl_module)

    def _relax(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        """On rank 0; the others take its factor, which theirs might differ from by rounding."""
        relaxation = pl_module.model.relaxation
        assert relaxation is not None, "the callback is of networks with a relaxation only"
        if trainer.is_global_zero:
            relax(pl_module.model, self._task, self._budget)
        factor, proved = trainer.strategy.broadcast((relaxation.factor, relaxation.proved))
        relaxation.set(factor, proved=proved)
