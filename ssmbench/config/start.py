"""The weights that a training starts from: those of an earlier run, identified by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError

#: Where the weights of a run are, best first.
_WEIGHTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")


def start_checkpoint(folder: str) -> Path:
    """The checkpoint of the run in ``folder``, of the best validation score or else the last one.

    Raises:
        UsageError: there is none.
    """
    for name in _WEIGHTS:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise UsageError(f"start: {folder}: not the folder of a trained run (it has no checkpoint)")


def start_digest(config: Mapping[str, Any]) -> str:
    """The digest of the weights that a resolved config names: the given one, or that of the file;
    "" if it starts from none, or if the file is missing."""
    if config.get("start") is None:
        return ""
    return config["start_digest"] or _digest_of(config["start"])


def checked_start(start: str, digest: str) -> Path:
    """The checkpoint to start from.

    Raises:
        UsageError: there is none, or its digest is another one.
    """
    file, found = start_checkpoint(start), _digest_of(start)
    if digest not in ("", found):
        raise UsageError(
            f"start: {file} has the digest {found}, but start_digest is {digest}; leave "
            "start_digest out to use the present weights"
        )
    return file


def _digest_of(folder: str) -> str:
    try:
        return hashlib.sha256(start_checkpoint(folder).read_bytes()).hexdigest()[:16]
    except (UsageError, OSError):
        return ""
