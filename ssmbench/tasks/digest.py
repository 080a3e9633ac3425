"""A digest of the data that a task reads, computed before training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError
from ssmbench.options import added


def digest_of(settings: Mapping[str, Any], files: Iterable[Path]) -> str:
    """16 hex digits of a task's settings and of its files' contents, whatever the files' names.

    Raises:
        UsageError: a file cannot be read.
    """
    text = repr([sorted(settings.items()), [file_digest(file) for file in files]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identifying_options(config: Any) -> dict[str, Any]:
    """As a fingerprint has them: without options that were added later and have their default."""
    if is_dataclass(config) and not isinstance(config, type):
        later = {name: default for name, (_, default) in added(type(config)).items()}
        options = asdict(config)
        return {k: value for k, value in options.items() if k not in later or value != later[k]}
    return {"config": config}


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, in 64 hex digits; a file that has not changed is read once.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        about = file.stat()
        # ctime too: a copy that preserves times can replace a file by one of the same mtime
        return _hash_once(file, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None


def listing_digest(folder: Path, pattern: str) -> str:
    """16 hex digits of the names and sizes of a folder's files, where they are too many to read."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    listed = [(str(path.relative_to(folder)), path.stat().st_size) for path in files]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _hash_once(file: Path, *state: int) -> str:
    """SHA-256 of a file's content, read again only if the file has changed since."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
