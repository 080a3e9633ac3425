"""An entry in plain values, for listings."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

from ssmbench.registry.entry import Entry


def describe(entry: Entry) -> dict[str, Any]:
    """An entry in plain values: its identity, the version of its code, its options with defaults,
    its class's facts.
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
    """Which version of its code an entry is: that of its package, or a digest of the source."""
    release = " ".join(filter(None, (entry.package, entry.version)))
    digest = entry.source_digest and f"sha256 {entry.source_digest}"
    return ", ".join(filter(None, (release, digest)))


def _default(option: dataclasses.Field) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    value = None if option.default is dataclasses.MISSING else option.default
    return value.name if isinstance(value, Enum) else value
