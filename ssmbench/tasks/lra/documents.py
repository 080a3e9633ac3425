"""The Arena's pairs of documents: tab-separated, label, two names and two texts in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssmbench.errors import UsageError

FILES = {
    part: f"new_aan_pairs.{name}.tsv"
    for part, name in (("train", "train"), ("val", "eval"), ("test", "test"))
}
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_FIELDS = 5


def read_pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Label and texts of each line, in order.

    Raises:
        UsageError: the file cannot be read, or a line is not such a pair; the message names it.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parsed(line, f"{path}:{number}")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _parsed(line: bytes, where: str) -> tuple[int, str, str]:
    try:
        fields = line.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not UTF-8") from None
    if len(fields) != _FIELDS:
        raise UsageError(f"{where}: {len(fields)} columns; expected label, two names and two texts")
    if fields[0] not in _LABELS:
        raise UsageError(f"{where}: the label is {fields[0][:20]!r}; it must be 0 or 1")
    return _LABELS[fields[0]], fields[3], fields[4]
