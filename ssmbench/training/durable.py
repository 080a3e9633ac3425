"""Checkpoint files that are either complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

#: Errors of a file system that has no room left for this user.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DurableCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it when it is on the disk.

    Lightning writes it into the folder of temporary files, and copies it if that is on another file
    system: a copy that is cut short has the final name.

    ``spare``: a file that is deleted if there is no room for a new one.

    Raises:
        OSError: the file cannot be written; the error names it. Nothing of it is left.
    """

    def __init__(self, spare: Path):
        super().__init__()
        self._spare = spare

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See :class:`DurableCheckpoints`; ``storage_options`` is not used."""
        buffer, file = io.BytesIO(), Path(path)
        torch.save(checkpoint, buffer)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_durably(file, buffer.getbuffer())
        except OSError as error:
            if error.errno not in _FULL or not self._makes_room():
                raise
            write_durably(file, buffer.getbuffer())

    def _makes_room(self) -> bool:
        """Delete the spare file; False if there is none."""
        try:
            self._spare.unlink()
        except OSError:
            return False
        return True


def write_durably(file: Path, content: bytes | memoryview) -> None:
    """Replace ``file`` by ``content``, which is on the disk before it has the name.

    Raises:
        OSError: it cannot be written; the error names ``file``, which is as before.
    """
    part = part_of(file)
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
        _sync(file.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(file)) from None
        raise


def part_of(file: Path) -> Path:
    """Where the content of a file is written before it has its name."""
    return file.with_name(f".{file.name}.part")


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk, on file systems that do this."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
