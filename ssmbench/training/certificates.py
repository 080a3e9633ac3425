"""What a network's proved gain says of its predictions under disturbances of the test sequences.

Of classes: the radius in which a prediction cannot change, and the accuracy that is left at each
energy. Of real outputs: the largest change of each.

The predictions are those of exact arithmetic on the weights and the layers' systems as they are
stored, evaluated in float64. By as much as the network's own precision gives other logits on the
undisturbed sequence, the margins are lowered; and gains count as larger by
:data:`~ssmbench.analysis.certificate.TOLERANCE`. What rounding does to the disturbed sequence is
otherwise not covered, as for all gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.pair_gains import PairGains
from ssmbench.analysis.radius import certified_radii
from ssmbench.config import AnalysisConfig
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.encoded import SignalMap, gain_map
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.results import Certified, LayerGains, NeighbourFloor, RobustnessPoint
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import UNSCORED, Batch
from ssmbench.tasks.classification import Classification
from ssmbench.training.composed import KnownPairs, composed_bound, proved_pairs
from ssmbench.training.gains import Measurement
from ssmbench.training.network_bound import batch_lengths
from ssmbench.training.robustness import CERTIFIED_ENERGIES, parts, typical_norm

UNEVEN = "the time steps of the sequences vary, and the gains are those at constant steps"
NO_FLOAT64 = "a component of the network cannot compute in float64"
OTHER_SCORE = "certificates are of accuracy, and the score of the task is another one"


@dataclass(frozen=True)
class Certificates:
    """``figures``: None if robustness is not measured; ``curve``: the certified accuracy at every
    energy, none without a certificate."""

    figures: Certified | None = None
    curve: tuple[RobustnessPoint, ...] = ()


@dataclass(frozen=True)
class Radii:
    """Of n predictions for test sequences: the ``radii`` (n,) in which their classes cannot change,
    and whether they are ``right``."""

    radii: Float64[Tensor, " n"]
    right: Bool[Tensor, " n"]

    def curve(self, typical: float, kind: str) -> tuple[RobustnessPoint, ...]:
        """The share that is right and stays so, at every energy."""
        return tuple(
            RobustnessPoint(energy, kind, self._kept(energy * typical))
            for energy in CERTIFIED_ENERGIES
        )

    def _kept(self, norm: float) -> float:
        kept = (self.right & (self.radii > norm)).sum()
        return (kept.float() / len(self.radii)).item()  # in float32, as measured scores

    def median(self, typical: float) -> float:
        """The median radius, the lower one of two, relative to ``typical``; that of a wrong
        prediction counts as 0."""
        radii = torch.where(self.right, self.radii, 0.0)
        return radii.median().item() / typical if typical > 0 else 0.0


def certificates_of(
    model: SequenceModel, task: Task, config: AnalysisConfig, found: Measurement
) -> Certificates:
    """As :func:`certificates`, from the gains that were measured."""
    return certificates(model, task, config, found.gain.layers, found.pairs)


def certificates(
    model: SequenceModel,
    task: Task,
    config: AnalysisConfig,
    layers: Sequence[LayerGains],
    known: KnownPairs | None = None,
    *,
    widened: float = 1.0,
) -> Certificates:
    """What the gains of the ``layers``, and gains of pairs that are ``known`` besides, prove of the
    predictions for the first sequences of the test split, the same as those that
    :func:`~ssmbench.training.robustness.robustness` disturbs.

    ``widened``: a factor of all radii of the network, for a check on another computer. Nothing if a
    parameter is not finite, or if ``config.robustness`` is false.
    """
    if not (config.robustness and is_finite(model)):
        return Certificates()
    with torch.device("cpu"):  # where data are loaded, whatever the default
        batch = task.sample("test", config.robustness_sequences)
    network, signals = gain_map(freeze(model, hold=batch.dt is None), batch.u, batch.lengths)
    batch = batch.to(signals.device, signals.dtype)
    typical = typical_norm(signals)
    figures = Certified(
        typical_norm=typical,
        gains_from=model.gains_from.value,
        sequences=batch.size,
        of="step" if task.sizes.per_step else "sequence",
        nearest_neighbour=_floor(task, config.robustness_sequences, typical),
    )
    pairs = _pairs(model, layers, batch, signals, known)
    exact = exact_map(network, signals)
    reason = _why_none(task, batch, exact) or (pairs if isinstance(pairs, str) else "")
    if reason:
        return Certificates(replace(figures, reason=reason))
    assert isinstance(pairs, PairGains), "else there is a reason"
    if not task.classifies:
        return Certificates(_of_outputs(figures, task, pairs))
    assert exact is not None, "else there is a reason"
    found = radii_of(network, exact, pairs, _Signals(signals, batch, task.batch_size))
    found = replace(found, radii=widened * found.radii)
    figures = replace(figures, median_radius=found.median(typical))
    return Certificates(figures, found.curve(typical, "certified"))


def _why_none(task: Task, batch: Batch, exact: SignalMap | None) -> str:
    if batch.dt is not None:
        return UNEVEN
    if task.classifies and task.score != "accuracy":
        return OTHER_SCORE
    return "" if exact is not None else NO_FLOAT64


def _pairs(
    model: SequenceModel,
    layers: Sequence[LayerGains],
    batch: Batch,
    signals: Float[Tensor, "n L m"],
    known: KnownPairs | None,
) -> PairGains | str:
    """The gains of pairs for sequences as short as the shortest one, or why there are none."""
    steps = signals.shape[1]
    shortest = steps if batch.lengths is None else int(batch.lengths.min())
    found = proved_pairs(model, layers, shortest)
    if known is not None and set(batch_lengths(steps, batch.lengths)) <= set(known.lengths):
        return known.gains if found is None else found.minimum(known.gains)
    return found or composed_bound(model, list(layers), shortest).reason


def _of_outputs(figures: Certified, task: Task, pairs: PairGains) -> Certified:
    """The figures with the largest changes of real outputs."""
    scales = task.output_scales()
    changes = pairs.output_gains * ((1 + TOLERANCE) * figures.typical_norm)
    unit = "units of the network's output" if scales is None else task.unit
    scaled = changes if scales is None else changes * scales.double().abs()
    return replace(figures, largest_changes=tuple(scaled.tolist()), unit=unit)


@dataclass(frozen=True)
class _Signals:
    """Sequences of a task as the network's gains refer to them, in parts of ``size``."""

    signals: Float[Tensor, "n L m"]
    batch: Batch
    size: int


@torch.no_grad()
def radii_of(network: SignalMap, exact: SignalMap, pairs: PairGains, given: _Signals) -> Radii:
    """The radii of the predictions of a network, ``exact`` being the same in float64."""
    radii, right = [], []
    for chosen in parts(given.batch.size, given.size):
        part, signals = given.batch.at(chosen), given.signals[chosen]
        logits, targets = part.scored(exact(signals.double(), part.lengths))
        error = (part.scored(network(signals, part.lengths))[0] - logits).abs().amax(1)
        scored = targets != UNSCORED
        found = certified_radii(logits[scored], pairs, error[scored]) / (1 + TOLERANCE)
        radii.append(found.cpu())
        right.append((logits.argmax(1) == targets)[scored].cpu())
    return Radii(torch.cat(radii), torch.cat(right))


def _floor(task: Task, sequences: int, typical: float) -> NeighbourFloor | None:
    """What nearest neighbours certify; None of tasks that have no classes."""
    if not isinstance(task, Classification):
        return None
    found = task.neighbour_certificate(sequences)
    if isinstance(found, str):
        return NeighbourFloor(reason=found)
    radii = Radii(found.radii, found.right)
    return NeighbourFloor(radii.curve(typical, "nearest neighbour"), radii.median(typical))
