"""Robustness curves: the score of a trained network under disturbances of growing energy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from ssmbench.config import AnalysisConfig
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.encoded import SignalMap, gain_map, mask_signals
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.results import RobustnessPoint
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch

#: l2 norm of the disturbance of a sequence, relative to that of a typical input.
ENERGIES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
#: Those of the certified curve; where classes are predicted, the adversary is measured there too.
CERTIFIED_ENERGIES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 1.0, 3.0)
KINDS = ("random", "adversarial")
#: Maximum number of random disturbances of each sequence; more than one if sequences are few.
_MAX_DRAWS = 16
# On trained S4D and L2RU networks, 5 steps with this momentum reach the score of 40 steps to within
# 3%; without momentum the ascent oscillates, and ends at a loss that is up to a quarter lower.
_MOMENTUM = 0.5


def robustness(model: SequenceModel, task: Task, config: AnalysisConfig) -> list[RobustnessPoint]:
    """Points of the curves on the first sequences of the test split, in evaluation mode.

    Every sequence gets a disturbance of norm ``energy`` times the root mean square norm of the
    inputs, or of the encoded inputs if the network's gains refer to these; padding is not
    disturbed. ``random`` has Gaussian directions, from which ``adversarial`` ascends the task's
    loss. The score is None if a prediction is not finite. There are no points if a parameter is not
    finite, or if ``config.robustness`` is false.
    """
    if not (config.robustness and is_finite(model)):
        return []
    with torch.device("cpu"):  # where data are loaded, whatever the default
        batch = task.sample("test", config.robustness_sequences)
    frozen = freeze(model, hold=batch.dt is None)
    network, signals = gain_map(frozen, batch.u, batch.lengths)
    batch = batch.to(signals.device, signals.dtype)
    typical = typical_norm(signals)
    scores: Scores = {("random", energy): _Score(task) for energy in ENERGIES}
    attacked = sorted((*ENERGIES, *_extra_energies(task)))
    scores |= {("adversarial", energy): _Score(task) for energy in attacked}
    attacker = _Attacker(network, task, typical, config.robustness_steps)
    draws = max(1, min(_MAX_DRAWS, config.robustness_sequences // batch.size))
    noise = _noise(signals, batch.lengths, draws + 1, config.attack_seed)
    for chosen in parts(batch.size, task.batch_size):
        part = _Part(signals[chosen], batch.at(chosen))
        for direction in noise[1:, chosen]:
            attacker.random(part, direction, scores)
        attacker.adversarial(part, noise[0, chosen], scores)
    return [RobustnessPoint(e, k, s.value()) for (k, e), s in scores.items()]


def _extra_energies(task: Task) -> tuple[float, ...]:
    """Energies at which only the adversary is measured, beside a certified score."""
    new = tuple(energy for energy in CERTIFIED_ENERGIES if energy not in ENERGIES)
    return new if task.classifies else ()


def typical_norm(signals: Float[Tensor, "n L m"]) -> float:
    """The root mean square of the l2 norms of sequences."""
    return torch.linalg.vector_norm(signals.double()).item() / math.sqrt(len(signals))


def _noise(
    signals: Float[Tensor, "n L m"], lengths: Tensor | None, draws: int, seed: int
) -> Float[Tensor, "draws n L m"]:
    """Unit directions, drawn for all sequences at once: they do not depend on the batch size."""
    generator = torch.Generator().manual_seed(seed)
    size = (draws * len(signals), *signals.shape[1:])
    noise = torch.randn(size, generator=generator, device="cpu")
    every = None if lengths is None else torch.cat([lengths.cpu()] * draws)
    return _unit(mask_signals(noise, every)).unflatten(0, (draws, len(signals)))


def parts(number: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most ``batch_size`` sequences."""
    for start in range(0, number, batch_size):
        yield slice(start, min(start + batch_size, number))


@dataclass(frozen=True)
class _Part:
    """A batch of sequences, and their signals (B, L, m), to which disturbances are added."""

    signals: Float[Tensor, "B L m"]
    batch: Batch


class _Score:
    """The task's score over several batches."""

    def __init__(self, task: Task):
        self._task, self._finite = task, True
        with torch.device("cpu"):  # whatever the default device; moved to the predictions' later
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
    """Disturbs sequences of a task, and scores the predictions of a network for them.

    ``typical`` is the norm that an energy of 1 means, ``steps`` the length of each ascent.
    """

    network: SignalMap
    task: Task
    typical: float
    steps: int

    def random(self, part: _Part, direction: Tensor, scores: Scores) -> None:
        """One direction for each sequence, the same at every energy."""
        for energy in ENERGIES:
            self._record(scores["random", energy], part, direction.to(part.signals), energy)

    def adversarial(self, part: _Part, start: Tensor, scores: Scores) -> None:
        """At each energy, the ascent starts from the worst direction of the energy before. Nothing
        starts from those that are new in the certified curve; below the first ascent, they have
        its direction."""
        direction, extra = start.to(part.signals), _extra_energies(self.task)
        for lower, energy in itertools.pairwise((0.0, *ENERGIES)):
            before = direction
            if energy > 0:
                direction = self._worst(part, before, energy)
            self._record(scores["adversarial", energy], part, direction, energy)
            for between in (e for e in extra if lower < e < energy):
                away = self._worst(part, before, between) if lower > 0 else direction
                self._record(scores["adversarial", between], part, away, between)

    def _record(self, score: _Score, part: _Part, direction: Tensor, energy: float) -> None:
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
            if loss > highest:  # false if the loss is NaN
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
    """Signals of unit norm; ``other`` in place of zero signals."""
    return torch.where(_norms(signals) > 0, _unit(signals), other)
