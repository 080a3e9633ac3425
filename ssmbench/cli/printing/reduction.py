"""Printing of a run with reduced layers beside the run that it was made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say

if TYPE_CHECKING:
    from ssmbench.runs.reducing import ModelReport, RunReduction

_LAYERS = (
    ("layer", "name"),
    ("heads", "heads"),
    ("order", "order"),
    ("kept, largest", "kept"),
    ("kept, mean", "mean_kept"),
    ("bound", "bound"),
    ("H-infinity error", "hinf_error"),
    ("proved", "proved_error"),
    ("H2 error", "h2_error"),
    ("gain before, at most", "gain"),
    ("after", "gain_after"),
)


def print_reduction(found: RunReduction, as_json: bool) -> None:
    """Print each layer, the change of the prediction, and both networks side by side."""
    if as_json:
        print_json(found.to_dict())
        return
    rows = [[plain(getattr(layer, key)) for _, key in _LAYERS] for layer in found.layers]
    table([title for title, _ in _LAYERS], rows)
    _say_where_rounding_is_larger(found)
    say("")
    table(("change of the prediction", ""), _change(found))
    say("")
    before, after = (_figures(found.metric, side) for side in (found.before, found.after))
    pairs = zip(before, after, strict=True)
    table(("", "before", "after"), [(name, a, b) for (name, a), (_, b) in pairs])
    say("")
    say(f"{found.removed:.1%} of the states removed; the new run: {found.folder}")


def _say_where_rounding_is_larger(found: RunReduction) -> None:
    for layer in found.layers:
        if layer.above_bound:
            say(
                f"{layer.name}: rounding exceeds the bound in {layer.above_bound} of {layer.heads} "
                "heads; what holds is the proved error"
            )


def _change(found: RunReduction) -> list[tuple[str, str]]:
    declared = plain(found.declared_change)
    if not math.isfinite(found.declared_change):
        declared = f"none because {found.declared_reason}"
    elif found.declared_reason:
        declared += f" ({found.declared_reason})"
    shortest, longest = min(found.lengths), max(found.lengths)
    steps = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
    return [
        (f"certified, for inputs of norm at most {found.norm:g} of {steps} steps", declared),
        ("attacked", plain(found.attacked_change)),
        ("for zero input", plain(found.change_at_zero)),
    ]


def _figures(metric: str, side: ModelReport) -> list[tuple[str, str]]:
    scores, network, cost = side.scores, side.gain.network, side.cost
    figures: list[tuple[str, Any]] = [
        (f"val {metric}", scores and scores.val),
        (f"test {metric}", scores and scores.test),
        ("gain verified", side.gain.verified),
        ("network declared", network.declared),
        ("network bound", network.bound),
        ("network attacked", network.attacked),
        ("state numbers", cost.state_numbers),
        ("parameters", cost.parameters),
        ("ms for a batch of sequences", cost.sequence_seconds * 1e3),
        ("ms for a streamed step", cost.step_seconds and cost.step_seconds * 1e3),
    ]
    return [(name, plain(value)) for name, value in figures]
