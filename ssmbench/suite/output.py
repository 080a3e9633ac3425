"""What a run printed, from its files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ssmbench.launchers.jobs import UNDER_WAY
from ssmbench.runs.folder import RunFolder

_CHUNK = 65_536
#: Seconds between two looks at a file that grows.
_PAUSE = 0.5


def written(file: Path) -> Iterator[str]:
    """The text of a file, in pieces; nothing if it cannot be read."""
    try:
        with file.open(encoding="utf-8", errors="backslashreplace") as stream:
            while text := stream.read(_CHUNK):
                yield text
    except OSError:
        return


def followed(folder: RunFolder, file: Path) -> Iterator[str]:
    """The text of a run's file as it grows, until the run is neither queued nor running."""
    place = 0
    while True:
        ended = folder.state not in UNDER_WAY  # before reading: what it wrote last is read too
        try:
            with file.open("rb") as stream:
                stream.seek(place)
                while data := stream.read(_CHUNK):
                    place += len(data)
                    yield data.decode(errors="backslashreplace")
        except OSError:
            pass
        if ended:
            return
        time.sleep(_PAUSE)
