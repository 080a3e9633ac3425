"""Read and write ``suite.json``, which records the runs of a suite and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import UsageError, require
from ssmbench.files import write_atomically
from ssmbench.runs.folder import RunFolder
from ssmbench.suite.selection import names_of, parse_selectors

#: Name of the folder for the runs, inside the suite's folder.
RUNS = "runs"
SUITE_FILE = "suite.json"
_CELL = dict.fromkeys(("task", "variant", "discretizer", "label", "fingerprint"), str)
_REFUSAL = dict.fromkeys(("variant", "discretizer", "reason"), str)
_SUITE = {"name": str, "cells": [_CELL | {"seed": int}]}


def write_suite(
    root: Path,
    name: str,
    cells: Iterable[Any],
    runs: Iterable[Any],
    refused: Iterable[Any],
    settings: Iterable[Mapping[str, Any]],
    **more: str,
) -> None:
    """Record in ``root`` a suite's cells with the fingerprints of their runs and the ``settings``
    in which they differ (by dotted key), the combinations that it refused, and ``more`` (of a
    search: its ``objective``)."""
    recorded = [
        {
            "task": cell.task,
            "variant": cell.variant,
            "discretizer": cell.discretizer,
            "seed": cell.seed,
            "label": cell.label,
            "fingerprint": run.fingerprint,
            "settings": dict(chosen),
        }
        for cell, run, chosen in zip(cells, runs, settings, strict=True)
    ]
    record = {"name": name, "cells": recorded, "refused": [asdict(one) for one in refused]}
    record |= more
    write_atomically(root / SUITE_FILE, jsonio.dumps(record, indent=1))


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


@dataclass(frozen=True)
class Recorded:
    """A run of a suite as ``suite.json`` has it."""

    task: str
    variant: str
    discretizer: str
    seed: int
    label: str
    fingerprint: str

    def names(self) -> tuple[str, ...]:
        """What the run may be called; see :func:`ssmbench.suite.selection.names_of`."""
        short = names_of(self.task, self.variant, self.discretizer, self.seed)
        return *short[:-1], self.label

    def folder(self, root: Path) -> RunFolder:
        """The run's folder in that of the suite."""
        return RunFolder(root / RUNS / self.fingerprint)


def recorded_runs(root: Path) -> list[Recorded]:
    """The runs of the suite in ``root``. Raises as :func:`read_suite`."""
    return [
        Recorded(**{key: cell[key] for key in (*_CELL, "seed")})
        for cell in read_suite(root)["cells"]
    ]


def runs_called(runs: Sequence[Recorded], name: str, where: str) -> list[Recorded]:
    """The runs that a label of the report means: itself, the seed and the discretizer before it
    left out, a shell pattern, or the beginning of labels.

    Raises:
        UsageError: there are none; the message gives near matches.
    """
    exact = [run for run in runs if run.label == name]
    if exact:
        return exact
    selector = parse_selectors([name], where)[0]
    found = [run for run in runs if selector.matches(run)]
    found = found or [run for run in runs if run.label.startswith(name)]
    if not found:
        selector.check(runs, where)
    return found


def run_called(runs: Sequence[Recorded], name: str, where: str) -> Recorded:
    """The one run that :func:`runs_called` finds.

    Raises:
        UsageError: there are several, or none.
    """
    found = runs_called(runs, name, where)
    labels = ", ".join(run.label for run in found[:8]) + (", ..." if len(found) > 8 else "")
    require(len(found) == 1, f"{where}: several runs are called {name!r}: {labels}")
    return found[0]
