"""Description of an entry by strings, numbers and dicts, for listings."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

from ssmbench.registry.entry import Entry


def describe(entry: Entry) -> dict[str, Any]:
    """Describe an entry by strings, numbers and dicts: kind, name, origin, version of the code,
    options with their defaults, and what the ``describe`` of its class states.
    """
    facts = getattr(entry.factory, "describe", dict)()
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.summary,
        "citation": entry.citation,
        "origin": entry.origin,
        "code": _code(entry),
        "options": {f.name: _default(f) for f in dataclasses.fields(entry.config)},
        "facts": facts,
    }


def _code(entry: Entry) -> str:
    """The version of the entry's code: package and version, or the digest of its source."""
    release = " ".join(filter(None, (entry.package, entry.version)))
    digest = entry.source_digest and f"sha256 {entry.source_digest}"
    return ", ".join(filter(None, (release, digest)))


def _default(option: dataclasses.Field) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    value = None if option.default is dataclasses.MISSING else option.default
    return value.name if isinstance(value, Enum) else value
