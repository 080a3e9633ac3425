"""Merging of run configs as nested dicts: key by key, later ones over earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ssmbench.config.places import IMPLIED_NAMES, LISTED
from ssmbench.errors import require
from ssmbench.yamlio import read_override


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``key=value`` arguments as a nested dict; values are YAML.

    Raises:
        UsageError: an argument has no ``=``, or its value is not YAML.
    """
    merged: dict[str, Any] = {}
    for argument in overrides:
        merged = merge(merged, read_override(argument))
    return merged


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with dotted keys as a nested dict; where keys overlap, the later one wins.

    Raises:
        UsageError: a key is not a string.
    """
    merged: dict[str, Any] = {}
    for key, value in overrides.items():
        require(isinstance(key, str), f"override {key!r}: the key must be a string")
        inner = nested(value) if isinstance(value, Mapping) else value
        for part in reversed(key.split(".")):
            inner = {part: inner}
        merged = merge(merged, inner)
    return merged


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``over`` into ``base`` key by key; values of ``over`` win.

    A component with another name replaces the whole component, because its options are different.
    """
    merged = dict(base)
    new: Any
    for key, new in over.items():
        old: Any = merged.get(key)
        if isinstance(new, str) and isinstance(old, dict) and "name" in old:
            new = {"name": new}
        if isinstance(old, str) and isinstance(new, dict) and "name" not in new:
            old = {"name": old}
        merged[key] = new
        if isinstance(old, dict) and isinstance(new, dict) and _same_name(key, old, new):
            merged[key] = merge(old, new)
    return merged


def _same_name(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether ``new`` refers to the same component as ``old``."""
    return "name" not in new or new["name"] == old.get("name", IMPLIED_NAMES.get(key))


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of everything that is not a mapping; the members of a list of
    components have their places in it as keys, from 0."""
    for key, value in config.items():
        inner = by_place(value) if f"{prefix}{key}" in LISTED else value
        if isinstance(inner, Mapping):
            yield from leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def by_place(value: Any) -> Any:
    """The members of a list by their places in it; anything else unchanged."""
    if not isinstance(value, list):
        return value
    return {str(place): member for place, member in enumerate(value)}
