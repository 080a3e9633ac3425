"""Immutable records that turn into plain dicts and back, by the types of their fields."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from ssmbench.errors import UsageError


class ResultError(UsageError):
    """A result that cannot be read: a key that is missing, or a value of another type."""


@dataclass(frozen=True)
class Record:
    """Base of the values in a result: to and from plain dicts, by the types of their fields."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, as :mod:`ssmbench.jsonio` writes them."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, data: Any, source: str = "result") -> Self:
        """The value that :meth:`to_dict` gave; unknown keys are ignored.

        Raises:
            ResultError: a key is missing, or a value is of another type; the message starts with
                ``source`` and names the key.
        """
        return _record(cls, data, source, "")


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: type, data: Any, source: str, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _mismatch(source, where, "a mapping", data)
    values = {}
    for field in fields(kind):
        at = f"{where}.{field.name}" if where else field.name
        if field.name in data:
            values[field.name] = _value(_hints(kind)[field.name], data[field.name], source, at)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ResultError(f"{source}: {at}: missing")
    return kind(**values)


def _value(hint: Any, value: Any, source: str, where: str) -> Any:
    """``value`` as a value of the type ``hint``."""
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, source, where)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        (part,) = (part for part in parts if part is not type(None))
        return _value(part, value, source, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _mismatch(source, where, "a list", value)
        return tuple(_value(parts[0], v, source, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _mismatch(source, where, "a mapping", value)
        return {k: _value(parts[1], v, source, f"{where}.{k}") for k, v in value.items()}
    return _scalar(hint, value, source, where)


_SCALARS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    str: ("text", lambda v: isinstance(v, str)),
}


def _scalar(kind: type, value: Any, source: str, where: str) -> Any:
    words, test = _SCALARS[kind]
    if not test(value):
        raise _mismatch(source, where, words, value)
    return kind(value)


def _mismatch(source: str, where: str, words: str, value: Any) -> ResultError:
    place = f"{where}: " if where else ""
    return ResultError(f"{source}: {place}must be {words}, got {value!r:.60}")
