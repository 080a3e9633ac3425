"""Short names that tell runs apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssmbench.runs.run import Run


def labels(runs: Sequence[Run]) -> list[str]:
    """One label per run: its variant, and its task, discretizer and seed where these differ among
    the runs; the folder's name is added where two would be the same.

    A run of no suite has the name of its parametrization in place of a variant.
    """
    parts = [_parts(run.config) for run in runs]
    told = [i for i in range(4) if i == 1 or len({part[i] for part in parts}) > 1]
    names = [" ".join(text for i in told if (text := part[i])) for part in parts]
    counts = Counter(names)
    pairs = zip(runs, names, strict=True)
    return [n if counts[n] == 1 else f"{n} {run.fingerprint}" for run, n in pairs]


def _parts(config: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Task, variant, discretizer and seed."""
    model = config["model"]
    return (
        config["task"]["name"],
        config.get("variant") or model["parametrization"]["name"],
        (model["discretizer"] or {}).get("name", ""),
        f"seed {config['seed']}",
    )
