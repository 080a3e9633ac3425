"""Publish runs: write or complete a published folder."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmbench.errors import UsageError, WriteError, require
from ssmbench.files import write_atomically
from ssmbench.publication.candidates import Candidate, Prepared, candidates, prepared
from ssmbench.publication.card import folder_card
from ssmbench.publication.identity import scored_on
from ssmbench.publication.layout import (
    CARD,
    DIGESTS,
    LEADERBOARD,
    PLUGINS,
    RUNS,
    Entry,
    config_file,
    digests_text,
    file_digest,
    is_published,
    leaderboard_text,
    read_leaderboard,
)
from ssmbench.publication.privacy import LEFT_OUT
from ssmbench.yamlio import read_yaml

#: Begins the names of folders that are about to take the place of others.
_DRAFT = ".draft-"


@dataclass(frozen=True, repr=False)
class Published:
    """What :func:`publish` wrote.

    ``entries``: of this call; ``replaced``: how many of them were there before. ``skipped``: labels
    of runs that were left out, each with the reason. ``left_out``: what was removed from all of
    them, in words; "" if nothing was. ``size``: bytes of the whole folder. ``uploaded``: its
    address on the hub; "" if it was not asked for.
    """

    folder: Path
    entries: tuple[Entry, ...]
    replaced: int
    skipped: tuple[tuple[str, str], ...]
    left_out: str
    size: int
    uploaded: str = ""

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} left out" if self.skipped else ""
        return f"Published {len(self.entries)} runs{skipped}: {self.folder}"


def publish(root: Path, folder: Path, *, licence: str = "", with_hosts: bool = False) -> Published:
    """Write the complete runs of ``root`` to ``folder``, beside those that it has already.

    Raises:
        UsageError: there is no run in ``root``, none can be published, or ``folder`` holds
            something else.
        WriteError: the folder cannot be written.
    """
    found = candidates(root)
    before = _entries_of(folder)
    ready, skipped = _prepare(folder, found, before, licence, with_hosts)
    if not ready:
        why = "; ".join(f"{label}: {reason}" for label, reason in skipped)
        raise UsageError(f"{root}: no run can be published: {why}")
    try:
        _write(folder, before, ready)
    except OSError as error:
        raise WriteError.of(folder, error) from None
    names = {one.entry.fingerprint for one in ready}
    return Published(
        folder=folder,
        entries=tuple(one.entry for one in ready),
        replaced=sum(entry.fingerprint in names for entry in before),
        skipped=tuple(skipped),
        left_out="" if with_hosts else LEFT_OUT,
        size=sum(file.stat().st_size for file in published_files(folder).values()),
    )


def _entries_of(folder: Path) -> list[Entry]:
    """The entries that a folder has already; none if there is no folder yet."""
    if is_published(folder):
        return read_leaderboard(folder)
    taken = folder.exists() and (not folder.is_dir() or any((folder / RUNS).glob("*")))
    require(not taken, f"{folder}: holds something else; choose another folder")
    return []


def _prepare(
    folder: Path, found: Iterable[Candidate], before: Iterable[Entry], licence: str, hosts: bool
) -> tuple[list[Prepared], list[tuple[str, str]]]:
    """The runs that can be published, and the labels of the others with the reasons."""
    ready: list[Prepared] = []
    skipped: list[tuple[str, str]] = []
    known = {entry.fingerprint: entry.licence for entry in before}
    tasks = {entry.task: scored_on(read_yaml(config_file(folder, entry))) for entry in before}
    for candidate in found:
        try:
            one = prepared(candidate, licence=licence, licences=known, with_hosts=hosts)
            options = tasks.setdefault(one.entry.task, one.scored_on)
            same = options == one.scored_on
            require(same, f"the task {one.entry.task!r} has other options or data in {folder}")
            ready.append(one)
        except UsageError as error:
            skipped.append((candidate.label, str(error)))
    return ready, skipped


# --- files ----------------------------------------------------------------------------------------


def _write(folder: Path, before: list[Entry], ready: list[Prepared]) -> None:
    """Each run's folder is replaced as a whole, then the two files that list them."""
    folder.mkdir(parents=True, exist_ok=True)
    for draft in folder.glob(f"{_DRAFT}*"):  # of a call that was killed
        shutil.rmtree(draft, ignore_errors=True)
    for one in ready:
        for path, content in one.plugins.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / path, content)
        _replace_run(folder, one)
    entries = {entry.fingerprint: entry for entry in before}
    entries |= {one.entry.fingerprint: one.entry for one in ready}
    ordered = sorted(entries.values(), key=lambda entry: (entry.label, entry.fingerprint))
    write_atomically(folder / LEADERBOARD, leaderboard_text(ordered))
    if not (folder / CARD).exists():
        write_atomically(folder / CARD, folder_card(ordered))
    write_digests(folder)


def _replace_run(folder: Path, one: Prepared) -> None:
    draft = folder / f"{_DRAFT}{secrets.token_hex(4)}"
    draft.mkdir()
    for path, content in one.files.items():
        (draft / Path(path).name).write_bytes(content)
    place = folder / RUNS / one.entry.fingerprint
    place.parent.mkdir(exist_ok=True)
    old = folder / f"{_DRAFT}{secrets.token_hex(4)}"
    if place.exists():
        os.rename(place, old)
    os.rename(draft, place)
    shutil.rmtree(old, ignore_errors=True)


def published_files(folder: Path) -> Mapping[str, Path]:
    """The files that ``digests.json`` covers, by their paths in the folder."""
    inside = [file for name in (RUNS, PLUGINS) for file in (folder / name).rglob("*")]
    files = [file for file in inside if file.is_file()] + [folder / LEADERBOARD]
    return {file.relative_to(folder).as_posix(): file for file in files}


def write_digests(folder: Path) -> None:
    """Write ``digests.json`` for the files as they are now."""
    digests = {name: file_digest(file) for name, file in published_files(folder).items()}
    write_atomically(folder / DIGESTS, digests_text(digests))
