"""Margins that a declared gain certifies: in the training loss, and in the choice of weights.

A disturbance of norm r moves the logit of class b against that of class a by at most g_ab r, where
g_ab is the gain to their difference. With ``z_b + g_ab r`` in place of the logits z, a the right
class, an argmax that is still a is certified under every such disturbance, and the cross-entropy
asks for it.

Source: Tsuzuku, Sato & Sugiyama, Lipschitz-Margin Training, NeurIPS 2018, arXiv 1802.04034,
algorithm 1, with the gains of pairs in place of sqrt(2) times that of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.config import RunConfig
from ssmbench.config.selection import certified_energy
from ssmbench.nn.certified import declared_pair_gains
from ssmbench.nn.encoded import mask_signals
from ssmbench.nn.model import SequenceModel
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import UNSCORED, Batch


@dataclass(frozen=True)
class Margins:
    """``typical``: norm of a typical training input. ``training``: energy of the disturbance that
    the training loss is of; ``selecting``: of the one whose certified score chooses the weights,
    None where it is the score itself."""

    typical: float = 0.0
    training: float = 0.0
    selecting: float | None = None

    @property
    def selects(self) -> bool:
        """Whether a certified score chooses the weights."""
        return self.selecting is not None

    def key(self, task: Task) -> str:
        """The key of the validation score that chooses the weights."""
        return f"val/{task.score if self.selecting is None else f'certified@{self.selecting:g}'}"

    def in_training(self, model: SequenceModel, prediction: Tensor, batch: Batch) -> Tensor:
        """The logits that the training loss is of."""
        if self.training == 0:
            return prediction
        return pessimistic(model, prediction, batch, self.training * self.typical)

    def in_selection(self, model: SequenceModel, prediction: Tensor, batch: Batch) -> Tensor:
        """The logits whose argmax is right where a validation sequence is certified."""
        return pessimistic(model, prediction, batch, (self.selecting or 0.0) * self.typical)


def margins_of(run: RunConfig, task: Task) -> Margins:
    """Those that a run asks for; the typical norm is computed from the training split."""
    selecting = certified_energy(run.select)
    if run.margin == 0 and selecting is None:
        return Margins()
    return Margins(typical_norm(task), run.margin, selecting)


def pessimistic(
    model: SequenceModel, prediction: Float[Tensor, "B *steps classes"], batch: Batch, norm: float
) -> Float[Tensor, "B *steps classes"]:
    """The logits of a batch, those of wrong classes raised by as much as a disturbance of this norm
    can raise them against the right one, by the gain that the network declares."""
    assert model.gamma is not None, "checked when the run was built"
    steps = batch.u.shape[1] if batch.lengths is None else int(batch.lengths.min())
    frames, classes = model.framing.count(steps), prediction.shape[-1]
    relaxed = 1.0 if model.relaxation is None else model.relaxation.factor
    gains = declared_pair_gains(model.decoder, model.gamma, frames, classes, relaxed)
    scored = (batch.target != UNSCORED)[..., None]
    raised = norm * gains[batch.target.clamp_min(0)] * scored
    if prediction.ndim == 2:
        return prediction + raised
    first = prediction.shape[1] - raised.shape[1]
    return prediction + torch.nn.functional.pad(raised, (0, 0, first, 0))


def typical_norm(task: Task) -> float:
    """The root mean square of the l2 norms of the training inputs, without padding."""
    squares = (
        mask_signals(b.u.double(), b.lengths).square().sum().item() for b in task.batches("train")
    )
    return math.sqrt(sum(squares) / len(task.split("train")))
