"""Write docs/configuration.md: every key of a run config, from the dataclasses that define it.

.venv/bin/python tools/config_reference.py
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from ssmbench.config import COMPONENTS, RunConfig
from ssmbench.config.places import LISTED
from ssmbench.options import declared, default_of
from ssmbench.registry import Entry, Registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

INTRODUCTION = """# Configuration reference

Written by `tools/config_reference.py` from the dataclasses in the code; a test holds this page to
them.

A run config is a YAML file (or, in Python, a dict) with the keys below; each has a default. On the
command line, `key=value` replaces a key, and a key inside a section is written with dots:
`model.d_model=64`. A key whose type is *a task*, *a scan* and so on is a **component**: a name, or
a mapping with the name and options, for example `{name: s4d, d_state: 32}`; some keys hold a list
of them. The options of every
built-in component follow the sections; `ssmbench show KIND NAME` prints those of a plugin too. A
key, name or value that is not allowed is refused before anything is trained.
"""

HEADER = ("key", "type", "default", "allowed", "what it is")


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_sections(RunConfig, ""), "## Options of the built-in components\n"]
    for kind in dict.fromkeys(COMPONENTS.values()):
        parts += _kind(kind)
    return "\n".join(parts)


def _sections(schema: type, path: str) -> Iterator[str]:
    """The section of a dataclass, then those of the dataclasses that its fields hold."""
    yield f"## `{path}`\n" if path else "## The run\n"
    yield f"{prose(schema)}\n"
    yield _table(schema, path)
    for option in dataclasses.fields(schema):
        inner = default_of(option)
        if dataclasses.is_dataclass(inner):
            yield from _sections(type(inner), f"{path}.{option.name}".lstrip("."))


def _kind(kind: Registry) -> Iterator[str]:
    entries = [entry for entry in kind if entry.factory.__module__.startswith("ssmbench.")]
    places = " and ".join(f"`{path}`" for path, of in COMPONENTS.items() if of is kind)
    yield f"### {kind.kind.capitalize()}\n"
    plain = [f"`{entry.name}`" for entry in entries if not dataclasses.fields(entry.config)]
    yield f"Key: {places}." + (f" Without options: {', '.join(plain)}." if plain else "") + "\n"
    for entry in entries:
        if dataclasses.fields(entry.config):
            yield _entry(entry)


def _entry(entry: Entry) -> str:
    summary = f"{_escaped(entry.summary.rstrip('.'))}.\n\n{prose(entry.config)}".strip()
    return f"#### `{entry.name}`\n\n{summary}\n\n{_table(entry.config, '')}"


def _table(schema: type, path: str) -> str:
    """A Markdown table; columns without any entry are left out."""
    rows = list(_rows(schema, path))
    kept = [i for i in range(len(HEADER)) if i < 3 or any(row[i] for row in rows)]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "".join("| " + " | ".join(line[i] for i in kept) + " |\n" for line in lines)


def _rows(schema: type, path: str) -> Iterator[tuple[str, ...]]:
    hints, limits, remarks = typing.get_type_hints(schema), declared(schema), comments(schema)
    for option in dataclasses.fields(schema):
        place = f"{path}.{option.name}".lstrip(".")
        default = default_of(option)
        section = dataclasses.is_dataclass(default)
        kind = COMPONENTS.get(place)
        remark = f"[names and options](#{kind.kind})" if kind else remarks.get(option.name, "")
        yield (
            f"`{option.name}`",
            "a section" if section else _type(hints[option.name], kind, place in LISTED),
            f"[below](#{place})" if section else f"`{_shown(default)}`",
            ", ".join(limit.words for limit in limits.get(option.name, ())),
            _escaped(remark),
        )


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    return str(value) if value != "" else '""'


def _type(hint: Any, kind: Registry | None, listed: bool = False) -> str:
    if kind is not None and listed:
        return f"a list of {kind.plural}"
    if kind is not None:
        return f"{'an' if kind.kind[0] in 'aeiou' else 'a'} {kind.kind}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.name}`" for member in hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(_type(part, None) for part in typing.get_args(hint))
    if hint is type(None):
        return "null"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return words.get(hint, _type_name(hint))


def _type_name(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    names = {dict: "mapping", list: "list", tuple: "list", Any: "any value"}
    return names.get(origin, getattr(origin, "__name__", str(origin)))


def comments(schema: type) -> dict[str, str]:
    """The ``#:`` comments above the fields of a dataclass, by field, base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(schema.__mro__):
        has_source = cls.__name__ in vars(sys.modules[cls.__module__])  # not made at run time
        if dataclasses.is_dataclass(cls) and has_source:
            found |= dict(_comments_in(inspect.getsource(cls).splitlines()))
    return found


def _comments_in(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    text: list[str] = []
    for line in map(str.strip, lines):
        if line.startswith("#:"):
            text.append(line.removeprefix("#:").strip())
            continue
        field = re.match(r"(\w+)\s*:", line)
        if field and text:
            yield field[1], " ".join(text)
        text = []


def prose(schema: type) -> str:
    """The docstring of a dataclass as Markdown; empty if it is the one that Python generates."""
    text = schema.__dict__.get("__doc__") or ""
    if text.startswith(f"{schema.__name__}("):
        return ""
    first, _, rest = text.partition("\n")
    text = f"{first}\n{textwrap.dedent(rest)}".strip()
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _escaped(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page())
