"""The files of a published folder, and what ``leaderboard.json`` and ``digests.json`` hold."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import UsageError, require
from ssmbench.results import Record, Result

LEADERBOARD, DIGESTS, CARD, LICENCE = "leaderboard.json", "digests.json", "README.md", "LICENSE"
RUNS, PLUGINS = "runs", "plugins"
CONFIG, RESULT, WEIGHTS = "config.yaml", "result.json", "model.safetensors"
#: Of ``leaderboard.json``; to be raised when the layout changes.
SCHEMA = 1
FINGERPRINT = re.compile(r"[0-9a-f]{12}")
#: Largest sizes in bytes that are read: of a config, a result, the folder's JSON, the weights.
MAX_CONFIG, MAX_TEXT, MAX_JSON, MAX_WEIGHTS = 2**18, 4 * 2**20, 64 * 2**20, 2 * 2**30
#: What a folder may hold beside the published files, because it is a repository; not checked.
OWNERS = ("report", CARD, LICENCE, "LICENSE.md", "LICENSE.txt", "CITATION.cff")


@dataclass(frozen=True)
class PluginSource(Record):
    """A component of a run that is not built in.

    ``where``: its path in the config; ``digest``: of its source, as the config has it. ``file``:
    the published source, relative to the folder; "" for one in an installed ``package``.
    """

    where: str
    kind: str
    name: str
    digest: str
    file: str = ""
    package: str = ""
    version: str = ""


@dataclass(frozen=True)
class Sizes(Record):
    """What a network must know of its task, so that it can be built without the data.

    ``input``: "channels" or "tokens", each of which may be "pair of ..."; ``count`` of them.
    """

    input: str
    count: int
    outputs: int
    length: int
    per_step: bool = False
    padding: int = 0
    image: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry(Record):
    """One run in ``leaderboard.json``: its labels, its main figures, and what its check needs.

    ``task``, ``variant``, ``discretizer``, ``seed``: as in the suite. Gains are the worst of the
    layers, those with ``network_`` the whole network's. ``steps``: the length of the sequences for
    which ``network_bound`` holds, and for longer ones.
    """

    fingerprint: str
    task: str
    variant: str
    discretizer: str
    seed: int
    status: str
    metric: str
    higher_is_better: bool
    unit: str
    val: float | None
    test: float | None
    declared: float | None
    verified: float | None
    attacked: float
    network_declared: float | None
    network_bound: float
    network_attacked: float
    parameters: int
    sizes: Sizes
    steps: int
    licence: str = ""
    plugins: tuple[PluginSource, ...] = ()

    @property
    def label(self) -> str:
        """``task/variant-discretizer-seed``, as a suite has it."""
        sampled = "" if self.discretizer == "none" else f"-{self.discretizer}"
        return f"{self.task}/{self.variant}{sampled}-s{self.seed}"


def config_file(folder: Path, entry: Entry) -> Path:
    """The config of an entry."""
    return folder / RUNS / entry.fingerprint / CONFIG


def is_published(folder: Path) -> bool:
    """Whether this is a folder that ``ssmbench publish`` wrote."""
    return (folder / LEADERBOARD).is_file()


def read_leaderboard(folder: Path) -> list[Entry]:
    """The entries of a published folder, in their order.

    Raises:
        UsageError: there is no readable ``leaderboard.json``, or it is of another version.
    """
    file = folder / LEADERBOARD
    require(file.is_file(), f"{folder}: not a published folder (it has no {LEADERBOARD})")
    content = read_json(file)
    valid = jsonio.has_shape(content, {"schema": int, "entries": [dict]})
    require(valid, f"{file}: not the {LEADERBOARD} of a published folder")
    schema = content["schema"]
    require(schema == SCHEMA, f"{file}: of schema {schema}; this ssmbench reads {SCHEMA}")
    entries = [
        Entry.from_dict(one, f"{LEADERBOARD}: entries[{n}]")
        for n, one in enumerate(content["entries"])
    ]
    for entry in entries:
        name = entry.fingerprint
        require(bool(FINGERPRINT.fullmatch(name)), f"{LEADERBOARD}: {name!r:.60} names no run")
    names = [entry.fingerprint for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), "")
    require(not twice, f"{LEADERBOARD}: {twice} is listed twice")
    return entries


def read_result(folder: Path, entry: Entry) -> Result:
    """The result of an entry.

    Raises:
        UsageError: it cannot be read.
    """
    file = folder / RUNS / entry.fingerprint / RESULT
    try:
        return Result.from_dict(read_json(file, MAX_TEXT), RESULT)
    except (OverflowError, RecursionError):  # of numbers that are no floats
        raise UsageError(f"{RESULT}: not a result") from None


def leaderboard_text(entries: list[Entry]) -> str:
    content = {"schema": SCHEMA, "entries": [entry.to_dict() for entry in entries]}
    return jsonio.dumps(content, indent=1) + "\n"


def read_digests(folder: Path) -> Mapping[str, str]:
    """SHA-256 by file, as ``digests.json`` has it.

    Raises:
        UsageError: there is no readable one.
    """
    content = read_json(folder / DIGESTS)
    files = content.get("files") if isinstance(content, dict) else None
    valid = isinstance(files, dict) and all(isinstance(d, str) for d in files.values())
    require(valid, f"{DIGESTS}: must hold the SHA-256 of every file, by its path")
    assert isinstance(files, dict)
    return files


def digests_text(digests: Mapping[str, str]) -> str:
    files = {name: digests[name] for name in sorted(digests)}
    return jsonio.dumps({"algorithm": "sha256", "files": files}, indent=1) + "\n"


# --- files that somebody else wrote --------------------------------------------------------------


def read_bytes(file: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; a link is not followed.

    Raises:
        UsageError: it is no such file; the message names it without its folder.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise UsageError(f"{file.name}: missing, or not a file that can be read") from None
    with os.fdopen(descriptor, "rb") as stream:
        about = os.fstat(descriptor)
        require(stat.S_ISREG(about.st_mode), f"{file.name}: not a regular file")
        size = f"{file.name}: {about.st_size:,} bytes are too many, at most {limit:,}"
        require(about.st_size <= limit, size)
        return stream.read(about.st_size)


def read_json(file: Path, limit: int = MAX_JSON) -> Any:
    """The content of a JSON file of at most ``limit`` bytes.

    Raises:
        UsageError: it cannot be read, or is not JSON.
    """
    try:
        return jsonio.loads(read_bytes(file, limit).decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError and integers too long are ValueErrors
        raise UsageError(f"{file.name}: not JSON") from None


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hex digits; a link is not followed."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
