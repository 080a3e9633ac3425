"""Robustness curves: the score of a trained network under disturbances of growing energy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MetricCollection

from ssmbench.config import AnalysisConfig
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.encoded import gain_map, within
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.results import RobustnessPoint
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch

#: l2 norm of the disturbance of a sequence, relative to that of a typical input.
ENERGIES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
KINDS = ("random", "adversarial")
#: Where there are few sequences, each is disturbed at random up to this often.
_MAX_DRAWS = 16
# On trained S4D and L2RU networks, 5 steps with this momentum end where 40 do, to 3% of the score;
# without momentum they oscillate, and leave the loss up to a quarter lower.
_MOMENTUM = 0.5


def robustness(model: SequenceModel, task: Task, config: AnalysisConfig) -> list[RobustnessPoint]:
    """Points of the curves on the first sequences of the test split, in evaluation mode.

    Every sequence gets a disturbance of norm ``energy`` times the root mean square norm of the
    inputs, or of the encoded inputs where the network's gains refer to these; none of it is in the
    padding. ``random`` has Gaussian directions, ``adversarial`` ascends the task's loss from there.
    The score is None where a prediction is not finite; no curve where a parameter is not.
    """
    if not (config.robustness and is_finite(model)):
        return []
    batch = task.sample("test", config.robustness_sequences)
    frozen = freeze(model, hold=batch.dt is None)
    network, signals = gain_map(frozen, batch.u, batch.lengths)
    batch = batch.to(signals.device, signals.dtype)
    typical = torch.linalg.vector_norm(signals.double()).item() / math.sqrt(batch.size)
    scores = {(kind, energy): _Score(task) for kind in KINDS for energy in ENERGIES}
    attacker = _Attacker(network, task, typical, config.robustness_steps)
    draws = max(1, min(_MAX_DRAWS, config.robustness_sequences // batch.size))
    noise = _noise(signals, batch.lengths, draws + 1, config.attack_seed)
    for chosen in _parts(batch.size, task.batch_size):
        part = _Part(signals[chosen], batch.at(chosen))
        for direction in noise[1:, chosen]:
            attacker.random(part, direction, scores)
        attacker.adversarial(part, noise[0, chosen], scores)
    return [RobustnessPoint(e, k, s.value()) for (k, e), s in scores.items()]


def _noise(
    signals: Float[Tensor, "n L m"], lengths: Tensor | None, draws: int, seed: int
) -> Float[Tensor, "draws n L m"]:
    """Directions for all sequences at once, so that batches do not matter."""
    generator = torch.Generator().manual_seed(seed)
    size = (draws * len(signals), *signals.shape[1:])
    noise = torch.randn(size, generator=generator, device="cpu")
    every = None if lengths is None else torch.cat([lengths.cpu()] * draws)
    return _unit(within(noise, every)).unflatten(0, (draws, len(signals)))


def _parts(number: int, batch_size: int) -> Iterator[slice]:
    """As many sequences at a time as were trained on."""
    for start in range(0, number, batch_size):
        yield slice(start, min(start + batch_size, number))


@dataclass(frozen=True)
class _Part:
    """Some sequences: ``signals`` (B, L, m) are what is disturbed of them."""

    signals: Float[Tensor, "B L m"]
    batch: Batch


class _Score:
    """The task's score over several batches."""

    def __init__(self, task: Task):
        self._task, self._finite = task, True
        with torch.device("cpu"):  # whatever the default: it moves to its predictions
            self._metrics: MetricCollection = task.metrics()

    def update(self, prediction: Tensor, batch: Batch) -> None:
        self._finite &= bool(torch.isfinite(prediction).all())
        metrics = self._metrics.to(prediction.device)
        metrics.update(*self._task.batch_metric(prediction, batch))

    def value(self) -> float | None:
        value = float(self._metrics.compute()[self._task.score])
        return value if self._finite and math.isfinite(value) else None


Scores = dict[tuple[str, float], _Score]


@dataclass
class _Attacker:
    """Disturbs sequences of one task and scores what its network makes of them."""

    network: nn.Module
    task: Task
    typical: float
    steps: int

    def random(self, part: _Part, direction: Tensor, scores: Scores) -> None:
        """One direction for each sequence, the same at every energy."""
        for energy in ENERGIES:
            self._note(scores["random", energy], part, direction.to(part.signals), energy)

    def adversarial(self, part: _Part, start: Tensor, scores: Scores) -> None:
        """At each energy from the direction that was worst at the one before."""
        direction = start.to(part.signals)
        for energy in ENERGIES:
            if energy > 0:
                direction = self._worst(part, direction, energy)
            self._note(scores["adversarial", energy], part, direction, energy)

    def _note(self, score: _Score, part: _Part, direction: Tensor, energy: float) -> None:
        with torch.no_grad():
            score.update(self._disturbed(part, direction, energy), part.batch)

    def _disturbed(self, part: _Part, direction: Tensor, energy: float) -> Tensor:
        """The prediction for signals disturbed along a direction."""
        signals = part.signals + energy * self.typical * direction
        return self.network(signals, part.batch.lengths, part.batch.dt)

    def _worst(self, part: _Part, direction: Tensor, energy: float) -> Float[Tensor, "B L m"]:
        """Ascent of the loss on the sphere, along normalised gradients with momentum."""
        best, highest, drift = direction, -math.inf, torch.zeros_like(part.signals)
        for _ in range(self.steps):
            loss, gradient = self._loss(part, direction, energy)
            if loss > highest:  # never so where it is not a number
                best, highest = direction, loss
            drift = _MOMENTUM * drift + _unit(gradient)
            direction = _unit_or(drift, direction)
        with torch.no_grad():
            loss = self._loss(part, direction, energy)[0]
        return direction if loss > highest else best

    def _loss(self, part: _Part, direction: Tensor, energy: float) -> tuple[float, Tensor]:
        direction = direction.detach().requires_grad_()
        loss = self.task.batch_loss(self._disturbed(part, direction, energy), part.batch)
        if not loss.requires_grad:
            return loss.item(), torch.zeros_like(part.signals)
        (gradient,) = torch.autograd.grad(loss, direction)
        return loss.item(), torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)


def _norms(signals: Float[Tensor, "B L m"]) -> Float[Tensor, "B 1 1"]:
    return torch.linalg.vector_norm(signals.flatten(1).double(), dim=1)[:, None, None]


def _unit(signals: Float[Tensor, "B L m"]) -> Float[Tensor, "B L m"]:
    return (signals.double() / _norms(signals).clamp_min(1e-300)).to(signals.dtype)


def _unit_or(signals: Float[Tensor, "B L m"], other: Tensor) -> Float[Tensor, "B L m"]:
    """On the unit sphere; where a loss is flat, the other."""
    return torch.where(_norms(signals) > 0, _unit(signals), other)
