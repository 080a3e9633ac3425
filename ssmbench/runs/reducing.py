"""Make a run with smaller SSM layers of a trained one, and measure what that changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from ssmbench.build.check import check_even
from ssmbench.config import AnalysisConfig, typed
from ssmbench.errors import require
from ssmbench.nn.encoded import gain_map
from ssmbench.nn.freeze import freeze
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.output_change import ChangeBudget, OutputChange, output_change
from ssmbench.nn.stored_systems import StoredSystems
from ssmbench.reduction import Reduction, proved_error
from ssmbench.results import Gains, ImportedFrom, LayerGains, Result, Scores
from ssmbench.results.record import Record
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.given import GivenNetwork, check_free, scores_of, write_run
from ssmbench.runs.layers import states_of
from ssmbench.runs.load import TrainedRun, load_trained, measure_task_gains, untrained
from ssmbench.runs.reduced_layers import ReductionRequest, reduced_layers
from ssmbench.runs.reduced_network import stored_config, stored_weights
from ssmbench.runs.run import Run
from ssmbench.tasks.base import Task
from ssmbench.training.relaxing import promised_lengths
from ssmbench.training.speed import ModelCost, sequence_seconds, step_seconds

#: The layout that the result of a reduced run names.
LAYOUT = "reduced"
#: Sequences of the validation split of which the time is taken.
_TIMED = 16


@dataclass(frozen=True)
class ReducedLayer(Record):
    """Of one SSM layer: ``order`` of each of its ``heads`` before, the largest and the mean order
    kept, and errors as in :class:`~ssmbench.reduction.Reduction`, the largest of all heads.
    ``above_bound``: of how many heads the measured error exceeds the bound. ``proved_error``: an
    upper bound on the error of the matrices that are stored, rounding included; infinite where none
    is proved. ``gain`` and ``gain_after``: proved upper bounds."""

    name: str
    heads: int
    order: int
    kept: int
    mean_kept: float
    bound: float
    above_bound: int
    hinf_error: float
    proved_error: float
    h2_error: float
    gain: float | None
    gain_after: float | None


@dataclass(frozen=True)
class ModelReport(Record):
    """A network: its scores (None without data or labels), its gains, and what it costs."""

    scores: Scores | None
    gain: Gains
    cost: ModelCost


@dataclass(frozen=True)
class RunReduction(Record):
    """A run with smaller layers, in ``folder``, beside the run that it was made of."""

    source: str
    folder: str
    metric: str
    removed: float
    layers: tuple[ReducedLayer, ...]
    norm: float
    lengths: tuple[int, ...]
    declared_change: float
    declared_reason: str
    attacked_change: float
    change_at_zero: float
    before: ModelReport
    after: ModelReport


def reduce_run(
    source: Path, request: ReductionRequest, folder: Path, *, force: bool = False
) -> RunReduction:
    """Write a run of the network in ``source`` with reduced layers to ``folder``.

    Raises:
        UsageError: the source is no trained run, or is given samples at uneven times; a layer is
            time-varying, unstable, complex or not finite, or starts from a learned state (the
            message names it); the data of the task are missing; the folder holds the source, or
            lies in it; or there is something in the folder and ``force`` is not set.
    """
    _check_apart(source, folder)
    check_free(folder, force=force)
    run, given = load_trained(source), RunFolder(source).result
    check_even(run.task, "the layers of such a run cannot be reduced")
    reductions = reduced_layers(run.model, request, run.task)
    network = _stored(source, run, reductions)
    write_run(Run(network.config, RunFolder(folder)), network, _provenance(source, run, request))
    result = RunFolder(folder).read_result()
    return _report(source, folder, request, run, network, reductions, given, result)


def _check_apart(source: Path, folder: Path) -> None:
    """Raise a UsageError if writing the folder would delete the run that is read."""
    one, other = source.resolve(), folder.resolve()
    apart = one != other and one not in other.parents and other not in one.parents
    require(apart, f"{folder}: is, holds or lies in the run that is reduced; choose another folder")


@torch.no_grad()
def _stored(
    source: Path, run: TrainedRun, reductions: Mapping[SSMLayer, Reduction]
) -> GivenNetwork:
    """The network of stored systems that the reductions are."""
    systems = {layer: found.system for layer, found in reductions.items()}
    stored = StoredSystems.of(run.model, systems)
    config = stored_config(Run.load(source).config, run.model, stored)
    own = typed(config)
    model = untrained(own, run.task.sizes)
    model.load_state_dict(stored_weights(run.model, model, stored))
    return GivenNetwork(config, own, run.task, model.eval())


def _provenance(source: Path, run: TrainedRun, request: ReductionRequest) -> ImportedFrom:
    amount = {k: v for k, v in vars(request.amount).items() if v not in (None, False)}
    return ImportedFrom(
        file=f"{source.name}/{run.checkpoint.name}",
        sha256=hashlib.sha256(run.checkpoint.read_bytes()).hexdigest(),
        layout=LAYOUT,
        options={"reducer": request.reducer, **{k: str(v) for k, v in amount.items()}},
        left_out=(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


# --- what it changes ------------------------------------------------------------------------------


def _report(
    source: Path,
    folder: Path,
    request: ReductionRequest,
    run: TrainedRun,
    network: GivenNetwork,
    reductions: Mapping[SSMLayer, Reduction],
    given: Result | None,
    result: Result,
) -> RunReduction:
    before = freeze(run.model)
    change = output_change_of(before, freeze(network.model), run.task, run.config.analysis, request)
    gains = _gains(run) if given is None else given.gain
    scores = None if result.scores is None else scores_of(run.model, run.task)
    found = list(reductions.values())
    proved = proved_errors(run.model, network.model)
    orders = sum(int(r.orders.sum()) for r in found)
    return RunReduction(
        source=str(source),
        folder=str(folder),
        metric=run.task.score,
        removed=1 - orders / sum(r.order * len(r.orders) for r in found),
        layers=tuple(
            _layer(f"layer {i}", r, proved[i], gains.layers[i], result.gain.layers[i])
            for i, r in enumerate(found)
        ),
        norm=request.norm,
        lengths=change.lengths,
        declared_change=change.declared,
        declared_reason=change.reason,
        attacked_change=change.attacked,
        change_at_zero=change.at_zero,
        before=ModelReport(scores, gains, _cost(run.model, run.task)),
        after=ModelReport(result.scores, result.gain, _cost(network.model, run.task)),
    )


def output_change_of(
    full: SequenceModel,
    reduced: SequenceModel,
    task: Task,
    analysis: AnalysisConfig,
    request: ReductionRequest,
) -> OutputChange:
    """The certified and the attacked change, for sequences of all lengths of the task's splits."""
    batch = task.sample("val", 1)
    _, like = gain_map(full, batch.u)
    lengths = promised_lengths(task, per_step=full.pooling is None)
    budget = ChangeBudget(
        analysis.network_bound,
        analysis.attack_steps,
        analysis.attack_restarts,
        analysis.attack_seed,
    )
    return output_change(full, reduced, like[0], request.norm, budget, lengths)


@torch.no_grad()
def proved_errors(full: SequenceModel, reduced: SequenceModel) -> list[float]:
    """Of each layer an upper bound on the H-infinity norm of the difference of its systems, the
    largest of all heads, with all rounding; infinite where none is proved."""
    pairs = zip(full.layers, reduced.layers, strict=True)
    return [float(proved_error(one.system(), other.system()).max()) for one, other in pairs]


def _layer(
    name: str, found: Reduction, proved: float, gain: LayerGains, gain_after: LayerGains
) -> ReducedLayer:
    return ReducedLayer(
        name=name,
        heads=len(found.orders),
        order=found.order,
        kept=int(found.orders.max()),
        mean_kept=float(found.orders.double().mean()),
        bound=float(found.bound.max()),
        above_bound=int(found.above_bound.sum()),
        hinf_error=float(found.hinf_error.max()),
        proved_error=proved,
        h2_error=float(found.h2_error.max()),
        gain=gain.verified_bound,
        gain_after=gain_after.verified_bound,
    )


def _gains(run: TrainedRun) -> Gains:
    return measure_task_gains(run.model, run.task, run.config.analysis).gain


def _cost(model: SequenceModel, task: Task) -> ModelCost:
    frozen = freeze(model)
    u = frozen.as_input(task.sample("val", _TIMED).u)
    return ModelCost(
        sequence_seconds=sequence_seconds(frozen, u),
        step_seconds=None if frozen.bidirectional else step_seconds(frozen, u),
        parameters=model.parameter_count(),
        state_numbers=sum(map(states_of, frozen.layers)),
    )
