"""Read and write ``suite.json``, which records the runs of a suite and their labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.files import write_atomically

#: Name of the folder for the runs, inside the suite's folder.
RUNS = "runs"
SUITE_FILE = "suite.json"
_CELL = dict.fromkeys(("task", "variant", "discretizer", "label", "fingerprint"), str)
_REFUSAL = dict.fromkeys(("variant", "discretizer", "reason"), str)
_SUITE = {"name": str, "cells": [_CELL | {"seed": int}]}


def write_suite(
    root: Path, name: str, cells: Iterable[Any], runs: Iterable[Any], refused: Iterable[Any]
) -> None:
    """Record in ``root`` a suite's cells with the fingerprints of their runs, and the combinations
    that it refused."""
    recorded = [
        {
            "task": cell.task,
            "variant": cell.variant,
            "discretizer": cell.discretizer,
            "seed": cell.seed,
            "label": cell.label,
            "fingerprint": run.fingerprint,
        }
        for cell, run in zip(cells, runs, strict=True)
    ]
    record = {"name": name, "cells": recorded, "refused": [asdict(one) for one in refused]}
    write_atomically(root / SUITE_FILE, jsonio.dumps(record, indent=1))


def link_tensorboard(root: Path) -> Path:
    """Create a folder of links ``task/variant-discretizer-seed`` to the runs, for TensorBoard."""
    board = root / "tensorboard"
    for cell in read_suite(root)["cells"]:
        link = board / cell["label"]
        target = root / RUNS / cell["fingerprint"] / "tensorboard"
        link.parent.mkdir(parents=True, exist_ok=True)
        source = os.path.relpath(target, link.parent)
        if link.is_symlink():
            link.unlink()
        if target.exists():
            link.symlink_to(source)
    return board


def read_suite(root: Path) -> dict[str, Any]:
    """The record of the suite in ``root``.

    Raises:
        UsageError: no suite was run in ``root``.
    """
    suite = jsonio.read(root / SUITE_FILE)
    if not (
        jsonio.has_shape(suite, _SUITE) and jsonio.has_shape(suite.get("refused", []), [_REFUSAL])
    ):
        raise UsageError(f"{root}: no suite was run there (it has no readable {SUITE_FILE})")
    return suite
