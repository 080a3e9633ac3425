"""Files that are replaced as a whole: a reader, a crash or a full disk never sees half of one."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from ssmbench.errors import WriteError

#: Names of drafts; those of earlier versions end in the number of a thread.
_DRAFT = re.compile(r"\..+\.\d+\.[0-9a-f]{8,}")
#: Seconds after which a draft is that of a writer that was killed.
_ABANDONED = 60.0


def write_atomically(
    path: Path,
    content: str | bytes | memoryview,
    *,
    durable: bool = False,
    check: Callable[[], None] | None = None,
    drafts: Path | None = None,
) -> None:
    """Write a file beside ``path`` and rename it into place; on any error the old one stays.

    ``durable``: it is on the disk when this returns, also after a power failure. ``check`` is
    called right before the renaming, and may raise. ``drafts``: a folder on the same disk to write
    it in, where a reader of the file's own folder would take a draft for a file.

    Raises:
        WriteError: it cannot be written, for example because the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = (drafts or path.parent) / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        _write(draft, data, durable)
        if check is not None:
            check()
        draft.replace(path)
        if durable:
            _sync_folder(path.parent)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            raise WriteError.of(path, error) from None
        raise


def _write(file: Path, data: bytes | memoryview, durable: bool) -> None:
    with file.open("wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # not every network file system can
        pass
    finally:
        os.close(descriptor)


def delete_abandoned_drafts(folder: Path, now: float) -> None:
    """Delete what killed writers left; ``now`` is the time of the folder's file system."""
    for file in folder.iterdir():
        if _DRAFT.fullmatch(file.name) and now - file.stat().st_mtime > _ABANDONED:
            file.unlink(missing_ok=True)
