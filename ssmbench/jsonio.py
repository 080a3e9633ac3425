"""Reading and writing JSON that every parser accepts; all JSON in ssmbench passes through here.

RFC 8259 defines neither infinity nor NaN, but Python writes them as bare words. This module writes
them as the strings "inf", "-inf" and "nan". A string that would be read as one of these is escaped
with a backslash, so that every value is read back unchanged: the label nan is written as "\\\\nan".
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ssmbench.errors import SsmbenchError, WriteError

_NOT_FINITE = re.compile(r"-?inf|nan")
_AMBIGUOUS = re.compile(r"\\*(?:-?inf|nan)")


class NotJsonError(SsmbenchError, TypeError):
    """A value that cannot be written as JSON; the message gives its path."""


def dumps(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON text of mappings, sequences, strings, numbers, booleans and None.

    NumPy and torch scalars and arrays become numbers and lists, enum members become their names,
    and paths become strings.

    Raises:
        NotJsonError: a value has another type, or a key is not a string.
    """
    return json.dumps(_encoded(value, ""), indent=indent, sort_keys=sort_keys, allow_nan=False)


def loads(text: str) -> Any:
    """The value that :func:`dumps` wrote; the bare ``Infinity`` and ``NaN`` of older files are
    accepted.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return _decoded(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read(path: Path) -> Any:
    """The content of a JSON file; None if the file is missing or damaged."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def append(path: Path, value: Any) -> None:
    """Append a value to a file of one JSON value a line, in one write.

    Half a line that a killed writer left becomes a line of its own, which :func:`read_lines` skips.

    Raises:
        WriteError: it cannot be written, for example because the disk is full.
    """
    line = dumps(value).encode() + b"\n"
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
            half = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * half + line)
    except OSError as error:
        raise WriteError.of(path, error) from None


def read_lines(path: Path, tail: int = 0) -> list[Any]:
    """The values in a file of one JSON value a line, without damaged lines; none if it is missing.

    A killed writer leaves half a line, at the end or, if it was resumed, between others. ``tail``:
    read the last so many bytes only.
    """
    try:
        with path.open("rb") as file:
            if 0 < tail < path.stat().st_size:
                file.seek(-tail, os.SEEK_END)
            lines = file.read().splitlines()
    except OSError:
        return []
    return [value for line in lines for value in _whole(line)]


def _whole(line: bytes) -> list[Any]:
    try:
        return [loads(line.decode())]
    except (ValueError, RecursionError):
        return []


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value that was read matches ``shape``: a type, a tuple of alternative types, a
    one-element list with the shape of all items, or a dict with the shapes of required keys."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and has_shape(value[key], part) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(item, shape[0]) for item in value)
    return isinstance(value, shape) and not (isinstance(value, bool) and shape is not bool)


def _encoded(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _encoded(value.name, where)
    if isinstance(value, str):
        return f"\\{value}" if _AMBIGUOUS.fullmatch(value) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return _encoded_container(value, where)


def _encoded_container(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {_key(k, where): _encoded(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, Path):
        return _encoded(str(value), where)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # NumPy or torch, not imported here
        return _encoded(value.tolist(), where)
    raise NotJsonError(
        f"{where.lstrip('.') or 'value'}: a {type(value).__name__} cannot be written as JSON"
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise NotJsonError(f"{where.lstrip('.') or 'value'}: the key {key!r} is not a string")
    return str(key)


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    if isinstance(value, str) and _AMBIGUOUS.fullmatch(value):
        return float(value) if _NOT_FINITE.fullmatch(value) else value[1:]
    return value
