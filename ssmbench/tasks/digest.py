"""A digest of the data that a task reads, computed before training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError


def digest_of(settings: Mapping[str, Any], files: Iterable[Path]) -> str:
    """16 hex digits of a task's settings and of its files' contents, whatever the files' names.

    Raises:
        UsageError: a file cannot be read.
    """
    text = repr([sorted(settings.items()), [_hash(file) for file in files]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash(file: Path) -> str:
    try:
        about = file.stat()
        # ctime too: a copy that preserves times can replace a file by one of the same mtime
        return _hash_once(file, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=4096)
def _hash_once(file: Path, *state: int) -> str:
    """SHA-256 of a file's content, read again only if the file has changed since."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
