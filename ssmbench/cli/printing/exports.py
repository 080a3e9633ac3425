"""Printing of an export: its files, how closely it agrees, and its gains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say
from ssmbench.paths import shown

if TYPE_CHECKING:
    from ssmbench.runs.export import ExportReport


def print_export(report: ExportReport, as_json: bool) -> None:
    """Print the files, the agreement, and the gains of the exported matrices."""
    if as_json:
        print_json(report.to_dict())
        return
    from pathlib import Path

    for file in report.files:
        say(f"written: {shown(Path(file))}")
    weights = report.metadata["weights"]
    say(
        f"agrees with the network's stream to {report.difference:.2g} of the largest prediction; "
        f"{weights['stored']} weights change predictions by {report.of_weights:.2g} of it"
    )
    gains = report.metadata["gains"]
    rows = [(f"layer {k}", *_layer(layer)) for k, layer in enumerate(gains["layers"])]
    table(("exported matrices", "verified gain", "proved bound", "spectral radius"), rows)
    for bound in gains["network"]:
        say(f"network, {bound['claim']}: {_bound(bound)}")
        if bound["above_declared"]:
            say(f"  above the declared {bound['declared']:g}: {bound['above_declared']}")


def _layer(layer: dict[str, Any]) -> tuple[str, ...]:
    return tuple(plain(layer[key]) for key in ("verified", "verified_bound", "spectral_radius"))


def _bound(bound: dict[str, Any]) -> str:
    if bound["bound"] is None:
        return f"no bound: {bound['reason']}"
    least = bound["from_steps"]
    lengths = "all lengths" if least == 1 else f"at least {least} steps"
    return f"gain at most {bound['bound']:.6g} from the {bound['of']}, for sequences of {lengths}"
