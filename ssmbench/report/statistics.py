"""The leaderboard: one row per task, variant and discretizer, with every seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ssmbench.report.aggregates import complete, mean, mean_and_spread, ratio, worst
from ssmbench.report.collect import RunRecord
from ssmbench.report.curves import FurtherRow, RobustnessRow, further_rows, robustness_rows
from ssmbench.report.resampling import mean_interval
from ssmbench.report.scale import Scale, scale_of
from ssmbench.results import Gains, NetworkGains, Result

__all__ = [
    "FurtherRow",
    "RobustnessRow",
    "Row",
    "SeedScore",
    "further_rows",
    "robustness_rows",
    "rows",
    "scales",
]

_LAYER_FIGURES = (
    *("promised", "declared", "verified", "attacked"),
    *("spectral_radius", "frozen"),
)


@dataclass(frozen=True)
class SeedScore:
    """One run of a row.

    ``score``: on the test split, None unless the run is finished. ``outcome``: "finished",
    "diverged at step 7", or the run's state. ``learned``: None if it is not over, or the task has
    no baseline. ``source``: whose it is, where several suites are joined. The gains as in a
    :class:`Row`, None unless the run is complete; ``seconds``: its wall time.
    """

    seed: int
    score: float | None
    outcome: str
    learned: bool | None
    fingerprint: str = ""
    source: str = ""
    val: float | None = None
    declared: float | None = None
    verified: float | None = None
    attacked: float | None = None
    spectral_radius: float | None = None
    network_declared: float | None = None
    network_bound: float | None = None
    network_attacked: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Row:
    """Figures of one variant on one task over its seeds.

    Scores are of finished runs: mean, sample standard deviation, and the bootstrap interval of the
    mean (None with one seed). Where several runs have one seed, their mean counts once.
    ``learned`` of the runs that are ``over`` (finished, diverged or failed) are clearly better than
    the trivial baseline (:class:`~ssmbench.report.scale.Scale`); None where the task has none.
    ``rank``: by the mean score among the task's rows, 1 is the best; equal scores have one rank.

    Gains and radii are the worst over complete runs; ``tightness`` is verified / declared, and
    ``slack`` declared / attacked, of these. ``None`` means that there is no such figure. Only
    time-varying layers have ``frozen``, a gain at sampled times without a certificate, and a
    ``note`` on it. ``unproved`` names the figures that are unproved estimates in at least one run.

    ``claim`` and ``network_claim``: "zero-state" where the declared gain of layers or network is of
    ``||y|| / ||u||`` from the zero state; "" where it is incremental. The attacked gain of layers
    is of the same kind; of the network, ``network_zero_state_bound`` and ``network_zero_state``.

    ``steps_per_second``, ``seconds`` (wall time of a run) and ``energy`` (joules of a run, of the
    devices ``energy_of``) are means, the peaks of memory (bytes) the largest.
    """

    task: str
    variant: str
    discretizer: str
    runs: int
    finished: int
    diverged: int
    failed: int
    outcome: str
    metric: str
    unit: str
    higher_is_better: bool
    score_mean: float | None
    score_spread: float | None
    promised: float | None
    declared: float | None
    verified: float | None
    attacked: float | None
    spectral_radius: float | None
    network_declared: float | None
    network_bound: float | None
    network_reason: str
    network_attacked: float | None
    parameters: int | None
    steps_per_second: float | None
    violations: tuple[str, ...]
    frozen: float | None = None
    note: str = ""
    unproved: tuple[str, ...] = ()
    seeds: tuple[SeedScore, ...] = ()
    score_low: float | None = None
    score_high: float | None = None
    over: int = 0
    learned: int | None = None
    rank: int | None = None
    tightness: float | None = None
    slack: float | None = None
    seconds: float | None = None
    peak_memory: float | None = None
    peak_gpu_memory: float | None = None
    energy: float | None = None
    energy_of: str = ""
    claim: str = ""
    network_claim: str = ""
    network_zero_state_bound: float | None = None
    network_zero_state: float | None = None

    @property
    def learned_share(self) -> float | None:
        """Which share of the runs that are over has learned; None: no baseline, or none is over."""
        return self.learned / self.over if self.learned is not None and self.over else None

    @property
    def scores(self) -> dict[int, float]:
        """The score of each seed that finished; the mean where several runs have the seed."""
        return scores_by_seed(self.seeds)

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the row in its task."""
        return self.variant, self.discretizer


def scores_by_seed(seeds: Iterable[SeedScore]) -> dict[int, float]:
    """The score of each seed that finished; the mean where several runs have the seed."""
    found: dict[int, list[float]] = {}
    for one in seeds:
        if one.score is not None:
            found.setdefault(one.seed, []).append(one.score)
    return {seed: sum(scores) / len(scores) for seed, scores in found.items()}


def scales(records: Iterable[RunRecord]) -> dict[str, Scale]:
    """The scale of each task of which a run is complete, as the first of its runs that has the
    size of the test split names it (those of earlier versions do not)."""
    found: dict[str, Scale] = {}
    for record in records:
        known = found.get(record.task)
        if record.result and (known is None or known.test_sequences is None):
            found[record.task] = scale_of(record.result.task)
    return found


def rows(records: Iterable[RunRecord]) -> list[Row]:
    """One row per (task, variant, discretizer), in the order of first appearance."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.variant, record.discretizer), []).append(record)
    known = scales(record for group in groups.values() for record in group)
    return _ranked([_row(group, known.get(group[0].task)) for group in groups.values()])


def _ranked(table: list[Row]) -> list[Row]:
    means: dict[str, list[float]] = {}
    for row in table:
        if row.score_mean is not None:
            means.setdefault(row.task, []).append(row.score_mean)
    return [replace(row, rank=_rank(row, means.get(row.task, []))) for row in table]


def _rank(row: Row, means: Sequence[float]) -> int | None:
    mine = row.score_mean
    if mine is None:
        return None
    return 1 + sum(m > mine if row.higher_is_better else m < mine for m in means)


def _row(group: list[RunRecord], scale: Scale | None) -> Row:
    first = group[0]
    results = [record.result for record in group if record.result]
    finished = [result for result in results if not result.diverged]
    seeds = tuple(_seed(record, scale) for record in group)
    gains = _layer_figures([result.gain for result in results])
    return Row(
        task=first.task,
        variant=first.variant,
        discretizer=first.discretizer,
        runs=len(group),
        finished=len(finished),
        diverged=len(results) - len(finished),
        failed=sum(record.state == "failed" for record in group),
        outcome=_outcome(seeds),
        parameters=results[0].parameters if results else None,
        seeds=seeds,
        **_metric(results),
        **_scores(seeds),
        **_learned(seeds),
        **gains,
        tightness=ratio(gains["verified"], gains["declared"]),
        slack=ratio(gains["declared"], gains["attacked"]),
        **_network_figures([result.gain.network for result in results]),
        **_costs(results),
    )


def _seed(record: RunRecord, scale: Scale | None) -> SeedScore:
    result = record.result
    scores = None if result is None or result.diverged else result.scores
    score = None if scores is None else scores.test
    outcome = f"diverged at step {result.diverged_at}" if result and result.diverged else None
    over = record.is_complete or record.state == "failed"
    return SeedScore(
        seed=record.seed,
        score=score,
        outcome=outcome or ("finished" if result else record.state),
        learned=scale.learned(score) if scale and over else None,
        fingerprint=record.fingerprint,
        source=record.source,
        val=None if scores is None else scores.val,
        **(_figures_of(result) if result else {}),
    )


def _figures_of(result: Result) -> dict[str, float | None]:
    gain, network = result.gain, result.gain.network
    return {
        "declared": gain.declared,
        "verified": gain.verified,
        "attacked": gain.attacked,
        "spectral_radius": gain.spectral_radius,
        "network_declared": network.declared,
        "network_bound": network.bound,
        "network_attacked": network.attacked,
        "seconds": result.seconds,
    }


def _metric(results: list[Result]) -> dict[str, Any]:
    if not results:
        return {"metric": "", "unit": "", "higher_is_better": True}
    task = results[0].task
    return {"metric": task.metric, "unit": task.unit, "higher_is_better": task.higher_is_better}


def _scores(seeds: Iterable[SeedScore]) -> dict[str, float | None]:
    scores = list(scores_by_seed(seeds).values())
    interval = mean_interval(scores)
    return {
        **mean_and_spread(scores),
        "score_low": interval.low if interval else None,
        "score_high": interval.high if interval else None,
    }


def _learned(seeds: Iterable[SeedScore]) -> dict[str, int | None]:
    over = [seed.learned for seed in seeds if seed.learned is not None]
    return {"over": len(over), "learned": sum(over) if over else None}


def _layer_figures(gains: list[Gains]) -> dict[str, Any]:
    return {
        **{name: worst(getattr(g, name) for g in gains) for name in _LAYER_FIGURES},
        "violations": tuple(v for g in gains for v in g.violations),
        "note": gains[0].note if gains else "",
        "claim": _claim(layer.claim for g in gains for layer in g.layers),
        "unproved": tuple(sorted({name for g in gains for name in g.unproved})),
    }


def _network_figures(gains: list[NetworkGains]) -> dict[str, Any]:
    reasons = [gain.reason for gain in gains if gain.reason]
    return {
        "network_declared": worst(gain.declared for gain in gains),
        "network_bound": worst(gain.bound for gain in gains),
        "network_attacked": worst(gain.attacked for gain in gains),
        "network_reason": reasons[0] if reasons else "",
        "network_claim": _claim(gain.claim for gain in gains),
        "network_zero_state_bound": worst(gain.zero_state_bound for gain in gains),
        "network_zero_state": worst(gain.zero_state for gain in gains),
    }


def _claim(claims: Iterable[str]) -> str:
    """ "zero-state" if one of them is; "" for incremental gains, which most are."""
    return "zero-state" if "zero-state" in claims else ""


def _costs(results: list[Result]) -> Mapping[str, Any]:
    """Of runs that do not say it, the figure of the others; energy only of one set of devices."""
    known = [result.provenance for result in results if result.provenance]
    devices = {about.energy_of for about in known if about.energy is not None}
    energies = complete([about.energy for about in known]) if len(devices) == 1 else []
    memory = [about.peak_memory for about in known if about.peak_memory is not None]
    gpu = [about.peak_gpu_memory for about in known if about.peak_gpu_memory is not None]
    return {
        "steps_per_second": mean(result.steps_per_second for result in results),
        "seconds": mean(result.seconds for result in results),
        "peak_memory": max(memory, default=None),
        "peak_gpu_memory": max(gpu, default=None),
        "energy": mean(energies),
        "energy_of": devices.pop() if energies else "",
    }


def _outcome(seeds: Sequence[SeedScore]) -> str:
    """``finished``, or the outcomes of the runs that did not finish."""
    words = [seed.outcome for seed in seeds if seed.outcome != "finished"]
    if not words:
        return "finished"
    prefix = "" if len(words) == len(seeds) else f"{len(seeds) - len(words)} finished, "
    return prefix + ", ".join(dict.fromkeys(words))
