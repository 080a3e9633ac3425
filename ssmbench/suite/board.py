"""A suite's folder for TensorBoard: every run under a readable name, with its row in one table.

A run that is not complete is a link to its folder of events, so that it is seen while it trains. A
complete one is a folder of links to its files of events, but for its outcome: that is written again
with the settings in which the suite's runs differ, since a run does not know of the suites that it
is in. Loads no torch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench.files import write_atomically
from ssmbench.runs.folder import RESULT_FILE, RunFolder
from ssmbench.runs.states import COMPLETE
from ssmbench.suite.record import RUNS, read_suite
from ssmbench.training.board.events import OUTCOME, TENSORBOARD, file_name
from ssmbench.training.board.messages import Column
from ssmbench.training.board.settings import columns_of_a_suite, short_names

#: What a cell's record says of it that may differ between the cells.
_LABELS = ("task", "variant", "discretizer", "seed")
#: States of runs that may write events yet.
_TO_COME = ("missing", "queued", "running", "interrupted", "out_of_time")


def link_tensorboard(root: Path, only: str | None = None) -> Path:
    """Create or update a folder with the suite's runs under the names
    ``task/variant-discretizer-seed``, for TensorBoard.

    ``only``: the fingerprint of the run that is updated; None for all. What is up to date is left
    as it is.
    """
    board, cells = root / TENSORBOARD, read_suite(root)["cells"]
    table = _Table.of(cells)
    for cell, settings in zip(cells, table.rows, strict=True):
        if only in (None, cell["fingerprint"]):
            run = RunFolder(root / RUNS / cell["fingerprint"])
            _place(board / cell["label"], run, cell["label"], settings, table)
    return board


@dataclass(frozen=True)
class _Table:
    """The settings of every run, and the columns in which they are shown."""

    rows: Sequence[dict[str, Any]]
    columns: Sequence[Column]

    @classmethod
    def of(cls, cells: Sequence[dict[str, Any]]) -> _Table:
        chosen = [cell.get("settings") or {} for cell in cells]  # earlier versions wrote none
        names = short_names(dict.fromkeys(key for settings in chosen for key in settings))
        rows = [
            {label: cell[label] for label in _LABELS}
            | {names[key]: value for key, value in settings.items()}
            for cell, settings in zip(cells, chosen, strict=True)
        ]
        return cls(rows, columns_of_a_suite(rows))

    def digest(self, result: Path) -> str:
        """Of the columns and of the state of a result's file: changes if either does."""
        about = [column.SerializeToString(deterministic=True) for column in self.columns]
        stat = result.stat()
        about.append(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        return hashlib.sha256(b"\0".join(about)).hexdigest()[:8]


def _place(place: Path, run: RunFolder, name: str, row: dict[str, Any], table: _Table) -> None:
    """Bring the run's place in the suite's folder up to date."""
    events, state = run.path / TENSORBOARD, run.status["state"]
    place.parent.mkdir(parents=True, exist_ok=True)
    if events.is_dir() and state in COMPLETE and (run.path / RESULT_FILE).exists():
        _link_files(place, events)
        _write_outcome(place, run, name, row, table)
    elif events.is_dir() or state in _TO_COME:
        _link(place, events)
    else:
        _clear(place)


def _link(place: Path, target: Path) -> None:
    source = os.path.relpath(target, place.parent)
    if place.is_symlink() and os.readlink(place) == source:
        return
    _clear(place)
    place.symlink_to(source)


def _link_files(place: Path, events: Path) -> None:
    """Links to the files of events, but for the run's own outcome."""
    if place.is_symlink():
        place.unlink()
    place.mkdir(exist_ok=True)
    wanted = [file for file in events.glob("*tfevents*") if file.suffix != f".{OUTCOME}"]
    sources = {file.name: os.path.relpath(file, place) for file in wanted}
    for entry in place.iterdir():
        if entry.is_symlink() and sources.get(entry.name) != os.readlink(entry):
            entry.unlink()
    for name, source in sources.items():
        if not (place / name).is_symlink():
            (place / name).symlink_to(source)


def _write_outcome(
    place: Path, run: RunFolder, name: str, row: dict[str, Any], table: _Table
) -> None:
    """Write the run's outcome with the suite's columns, unless it is there already."""
    from ssmbench.training.board.outcome import outcome_file

    kind = f"{table.digest(run.path / RESULT_FILE)}.{OUTCOME}"
    earlier = list(place.glob(f"*tfevents*.{OUTCOME}"))
    if any(file.name.endswith(kind) for file in earlier):
        return
    result = run.result
    if result is None:
        return
    ended = (run.path / RESULT_FILE).stat().st_mtime
    content = outcome_file(result, name, row, table.columns, ended)
    for file in earlier:
        file.unlink(missing_ok=True)
    write_atomically(place / file_name(kind, ended), content, drafts=run.path)


def _clear(place: Path) -> None:
    """Delete what an earlier call placed here."""
    if place.is_symlink():
        place.unlink()
    elif place.is_dir() and all(_is_own(entry) for entry in place.iterdir()):
        shutil.rmtree(place)


def _is_own(entry: Path) -> bool:
    return entry.is_symlink() or entry.suffix == f".{OUTCOME}"
