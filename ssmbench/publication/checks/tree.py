"""The files of a published folder: which there are, and whether they have their digests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssmbench.errors import UsageError
from ssmbench.publication.layout import (
    CARD,
    CONFIG,
    DIGESTS,
    LEADERBOARD,
    OWNERS,
    PLUGINS,
    RESULT,
    RUNS,
    WEIGHTS,
    Entry,
    file_digest,
    read_digests,
)

_PLUGIN = re.compile(rf"{PLUGINS}/[0-9a-f]{{16}}/\w[\w.-]*\.py")
#: Of every run; a diverged one has no weights.
_NEEDED = (CONFIG, RESULT, CARD)
#: More files than this are not looked at.
_MOST_FILES = 200_000


@dataclass
class Tree:
    """The regular files by their paths, and what is wrong: with the folder, or with a run."""

    files: dict[str, Path] = field(default_factory=dict)
    of_folder: list[str] = field(default_factory=list)
    of_runs: dict[str, list[str]] = field(default_factory=dict)

    def blame(self, path: str, problem: str) -> None:
        """Note a problem of a file, with the run that it belongs to."""
        parts = path.split("/")
        if len(parts) > 1 and parts[0] == RUNS:
            inner = "/".join(parts[2:])
            text = f"{inner}: {problem}" if inner else problem
            self.of_runs.setdefault(parts[1], []).append(text)
        else:
            self.of_folder.append(f"{path[:200]}: {problem}")


def read_tree(folder: Path, entries: Iterable[Entry]) -> Tree:
    """Look at every file, and compare it with ``digests.json`` and with the entries."""
    tree = Tree()
    for path, file in _walk(folder, tree):
        tree.files[path] = file
    _check_names(tree, list(entries))
    _check_digests(folder, tree)
    return tree


def _walk(folder: Path, tree: Tree) -> Iterator[tuple[str, Path]]:
    """Regular files by their paths; links are not followed, and noted as problems."""
    waiting = [("", folder)]
    count = 0
    while waiting:
        prefix, place = waiting.pop()
        for found in sorted(os.scandir(place), key=lambda one: one.name):
            path, count = f"{prefix}{found.name}", count + 1
            if count > _MOST_FILES:
                tree.of_folder.append(f"more than {_MOST_FILES:,} files")
                return
            if not prefix and (found.name.startswith(".") or found.name in OWNERS):
                continue  # those of a repository
            if found.is_symlink():
                tree.blame(path, "a symbolic link")
            elif found.is_dir(follow_symlinks=False):
                waiting.append((f"{path}/", Path(found.path)))
            elif found.is_file(follow_symlinks=False):
                yield path, Path(found.path)
            else:
                tree.blame(path, "not a regular file")


def _check_names(tree: Tree, entries: list[Entry]) -> None:
    allowed = {LEADERBOARD, DIGESTS}
    for entry in entries:
        here = f"{RUNS}/{entry.fingerprint}"
        names = _NEEDED if entry.status == "diverged" else (*_NEEDED, WEIGHTS)
        for path in (f"{here}/{name}" for name in names):
            allowed.add(path)
            if path not in tree.files:
                tree.blame(path, "missing")
    for path in tree.files:
        run = path.split("/")[1] if path.startswith(f"{RUNS}/") and path.count("/") > 1 else ""
        if path in allowed or _PLUGIN.fullmatch(path):
            continue
        listed = run in {entry.fingerprint for entry in entries}
        tree.blame(path, "not a file of a published run" if listed or not run else "not listed")


def _check_digests(folder: Path, tree: Tree) -> None:
    try:
        recorded: Mapping[str, str] = read_digests(folder)
    except UsageError as error:
        tree.of_folder.append(str(error))
        return
    for path in sorted({*recorded, *tree.files} - {DIGESTS}):
        if path not in tree.files:
            tree.blame(path, f"missing, but {DIGESTS} has it")
        elif path not in recorded:
            tree.blame(path, f"not in {DIGESTS}")
        elif recorded[path] != _digest(tree.files[path]):
            tree.blame(path, f"changed: its SHA-256 is not that of {DIGESTS}")


def _digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
