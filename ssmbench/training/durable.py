"""Checkpoint files that are either complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ssmbench.errors import WriteError
from ssmbench.files import write_atomically

#: Errors of a file system that has no room left for this user.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DurableCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it when it is on the disk.

    Lightning writes it into the folder of temporary files, and copies it if that is on another file
    system: a copy that is cut short has the final name.

    ``spare``: a file that is deleted if there is no room for a new one.

    Raises:
        WriteError: the file cannot be written. Nothing of it is left.
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
            write_atomically(file, buffer.getbuffer(), durable=True)
        except WriteError as error:
            if error.errno not in _FULL or not self._makes_room():
                raise
            write_atomically(file, buffer.getbuffer(), durable=True)

    def _makes_room(self) -> bool:
        """Delete the spare file; False if there is none."""
        try:
            self._spare.unlink()
        except OSError:
            return False
        return True
