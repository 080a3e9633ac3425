"""A suite, resolved and checked, as plain values; and whether these may be kept for later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.config import build
from ssmbench.config.components import entries_of
from ssmbench.registry import Entry, plugin_files
from ssmbench.suite.grid import Suite
from ssmbench.suite.session import build_launcher, check_all
from ssmbench.tasks.benchmark_package import package_data_folder
from ssmbench.tasks.data import data_folder


def checked(
    suite: Suite, root: Path, launcher: str | Mapping[str, Any] | None, jobs: int | None
) -> dict[str, Any]:
    """The chosen runs of a suite with their configs, after a check of all of them.

    Raises:
        UsageError: a run could not be executed; the message names it.
    """
    chosen = build_launcher(suite, launcher)
    check_all(suite)
    cells = suite.chosen_cells
    return {
        "name": suite.name,
        "runs": [
            {
                **{name: getattr(cell, name) for name in ("task", "variant", "discretizer")},
                **{"seed": cell.seed, "label": cell.label},
                "fingerprint": cell.run(root).fingerprint,
            }
            for cell in cells
        ],
        "configs": [cell.config for cell in cells],
        "refused": [dataclasses.asdict(refusal) for refusal in suite.refused],
        "parallel": chosen.side_by_side(jobs),
    }


def data_of(suite: Suite) -> list[Path] | None:
    """The files and folders of data on which the configs of a suite depend; None if that is not
    known, so that the configs must be resolved anew: data are missing or too many files, or an
    entry is neither built in nor in a plugin file."""
    found: dict[Path, None] = {}
    different = {repr(cell.config["task"]): cell.config for cell in suite.cells}
    for config in different.values():
        paths = _data_of(config)
        if paths is None:
            return None
        found |= dict.fromkeys(paths)
    known = {str(file) for file in plugin_files()}
    entries = {entry for cell in suite.cells for _, entry in entries_of(cell.config)}
    return list(found) if all(_is_in_a_file(entry, known) for entry in entries) else None


def _is_in_a_file(entry: Entry, known: set[str]) -> bool:
    return entry.builtin or str(Path(entry.origin.rpartition(":")[0]).resolve()) in known


def _data_of(config: Mapping[str, Any]) -> list[Path] | None:
    if not config["data_digest"]:
        return None
    try:
        task = build(registry.tasks, config["task"], batch_size=1, seed=0)
        if task.data_facts():
            return None
        return [*task.data_files(), *_folders(config["task"])]
    except Exception:  # a plugin's
        return None


def _folders(task: Mapping[str, Any]) -> Iterator[Path]:
    """The folders in which the data of a task are looked for."""
    folders = (data_folder(task.get("data_dir")), package_data_folder())
    return (folder for folder in folders if folder is not None)
