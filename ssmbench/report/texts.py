"""Figures as the text of a cell; ``none`` stands for what there is not."""

from __future__ import annotations

import math

from ssmbench.report.curves import FurtherRow
from ssmbench.report.statistics import Row, SeedScore

NONE = "none"


def number(value: float | None, digits: int = 4) -> str:
    """Four significant digits; ``inf`` for infinity and ``none`` for None."""
    if value is None:
        return NONE
    return "inf" if math.isinf(value) else f"{value:.{digits}g}"


def radius_text(radius: float | None) -> str:
    """Six decimals, enough to see on which side of 1 a radius lies."""
    if radius is None:
        return NONE
    return "inf" if math.isinf(radius) else f"{radius:.6f}"


def interval_text(low: float | None, high: float | None) -> str:
    """``[0.9611, 0.9639]``."""
    return NONE if low is None or high is None else f"[{low:.4f}, {high:.4f}]"


def score_text(row: Row) -> str:
    """``0.9625 [0.9611, 0.9639]``, followed by the outcomes of the runs that did not finish."""
    if row.score_mean is None:
        return row.outcome
    note = "" if row.outcome == "finished" else f" ({row.outcome})"
    interval = "" if row.score_low is None else f" {interval_text(row.score_low, row.score_high)}"
    return f"{row.score_mean:.4f}{interval}{note}"


def seeds_text(row: Row) -> str:
    """Every seed's score or outcome, in the order of the seeds."""
    return ", ".join(map(_seed_text, sorted(row.seeds, key=lambda seed: seed.seed))) or NONE


def _seed_text(seed: SeedScore) -> str:
    """An outcome without its step or reason, which stand elsewhere."""
    if seed.score is not None:
        return f"{seed.score:.4f}"
    return seed.outcome.partition(":")[0].partition(" at ")[0]


def learned_text(row: Row) -> str:
    """``2 of 2``: how many of the runs that are over have learned."""
    return NONE if row.learned is None else f"{row.learned} of {row.over}"


def mean_and_spread(mean: float | None, spread: float | None) -> str:
    """``0.9654 ± 0.0042``."""
    if mean is None:
        return NONE
    return f"{mean:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def further_text(row: FurtherRow) -> str:
    """``0.9654 ± 0.0042 (1.03)``, or how many runs diverged."""
    score = mean_and_spread(row.score_mean, row.score_spread)
    if row.diverged:
        return f"{score} (diverged: {row.diverged} of {row.runs})"
    return f"{score} ({number(row.state_norm)})"


def note_text(row: Row) -> str:
    """The note on the gain of time-varying layers, with the gain at sampled times."""
    proved = "" if row.declared is not None else " (no certificate)"
    return f"{row.note}; largest at sampled times: {number(row.frozen)}{proved}"


def duration_text(seconds: float | None) -> str:
    """``31 s``, ``4 min``, ``2.5 h``."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def memory_text(count: float | None) -> str:
    """``312 MB`` or ``1.25 GB``, of 10^6 and 10^9 bytes."""
    if count is None:
        return NONE
    return f"{count / 1e6:.3g} MB" if count < 1e9 else f"{count / 1e9:.3g} GB"


def energy_text(joules: float | None) -> str:
    """``520 J`` or ``1.2 kJ``."""
    if joules is None:
        return NONE
    return f"{joules:.3g} J" if joules < 1000 else f"{joules / 1000:.3g} kJ"
