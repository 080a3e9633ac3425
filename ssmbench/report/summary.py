"""What a reader must know of a task before its scores: sentences."""

from __future__ import annotations

from collections.abc import Sequence

from ssmbench.report.collect import RunRecord
from ssmbench.report.scale import ROUNDING_EFFECT, Scale


def summary(records: Sequence[RunRecord], scale: Scale | None) -> tuple[str, ...]:
    """Sentences on the metric of a task, its data, its baselines, its resolution, and the device
    of the speed; ``records`` are of this task."""
    results = [record.result for record in records if record.result]
    if not results or scale is None:
        return ("No run is complete.",)
    about, where = results[0].task, results[0].environment
    unit = f" [{about.unit}]" if about.unit else ""
    better = "higher" if about.higher_is_better else "lower"
    trivial = ", ".join(f"{name} {value:.4g}" for name, value in (about.baselines or {}).items())
    return (
        f"Score: {about.metric}{unit}, {better} is better.",
        f"Data: {about.source}.",
        *([f"Without learning: {trivial}."] if trivial else []),
        *_rules(scale),
        f"Speed: optimizer steps per second on {where.device}, {where.threads} thread(s) per run.",
    )


def _rules(scale: Scale) -> list[str]:
    """When a run has learned, and which differences are none."""
    rules = []
    if scale.learned_from is not None:
        side = "above" if scale.higher_is_better else "below"
        rules.append(
            f"Learned: a score {side} {scale.learned_from:.4g} ({scale.trivial}: "
            f"{scale.trivial_score:.4g})."
        )
    if scale.classifies and scale.test_sequences:
        rules.append(f"Test sequences: {scale.test_sequences}.")
    elif not scale.higher_is_better:
        rules.append(f"Resolution: differences under {ROUNDING_EFFECT:.0%} may be rounding.")
    return rules
