"""The source code of the plugins that a run uses, as a part of its identity.

A resolved config names the digest of every entry that is not built in, so a run whose plugin was
edited has another fingerprint, and its earlier result is not taken for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbench.config.components import entries_of
from ssmbench.config.identity import fingerprint
from ssmbench.errors import UsageError, require
from ssmbench.yamlio import read_yaml


def sources_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The digests of what a config's components, as they are now, were registered in."""
    return {path: entry.source_digest for path, entry in entries_of(config) if not entry.builtin}


def without_sources(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the digests of its plugins: the same for every version of their code."""
    return {key: value for key, value in config.items() if key != "sources"}


def changed_sources(config: Mapping[str, Any]) -> list[str]:
    """A sentence for each plugin whose code is not that of the run with this stored config.

    A run from before digests were recorded says nothing about its plugins, and has none.
    """
    recorded = config.get("sources")
    if not isinstance(recorded, Mapping):
        return []
    now = dict(entries_of(config))
    return list(dict.fromkeys(_changes(recorded, now)))


def _changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for path, digest in recorded.items():
        entry = now.get(path)
        if entry is None:
            yield f"{path}: the plugin that this run used is not found"
        elif entry.builtin:
            yield f"{path}: the {entry.kind} {entry.name!r} was a plugin's, now it is built in"
        elif entry.source_digest != digest:
            place = entry.origin.rpartition(":")[0]
            yield f"{place} changed since this run: {entry.kind} {entry.name!r} may differ"


def check_sources(config: Mapping[str, Any]) -> None:
    """Raise a UsageError where a plugin was edited after the config that is to be run was resolved:
    the result would have the name of other code."""
    changes = changed_sources(config)
    require(not changes, f"{'; '.join(changes)}; start the run anew")


def earlier_sources(root: Path, resolved: Mapping[str, Any]) -> list[Path]:
    """Folders in ``root`` of runs with the same config but different plugin code.

    Reads no file for a run of built-in components alone. :func:`changed_sources` of their configs
    says what changed.
    """
    return all_earlier_sources(root, [resolved])[0]


def all_earlier_sources(root: Path, configs: Sequence[Mapping[str, Any]]) -> list[list[Path]]:
    """:func:`earlier_sources` of each config, reading what is in ``root`` once."""
    if not any(config.get("sources") for config in configs):
        return [[] for _ in configs]
    names = {folder: _base_name(folder) for folder in _with_sources(root)}
    return [_earlier(root, config, names) for config in configs]


def _earlier(root: Path, resolved: Mapping[str, Any], names: Mapping[Path, str]) -> list[Path]:
    if not resolved.get("sources"):
        return []
    wanted = fingerprint(without_sources(resolved))
    before = root / wanted  # from before digests were recorded
    folders = {folder for folder, name in names.items() if name == wanted}
    folders |= {before} if before.is_dir() else set()
    return sorted(folders - {root / fingerprint(resolved)})


def _with_sources(root: Path) -> Iterator[Path]:
    """Most runs have none: their configs need not be parsed."""
    for file in root.glob("*/config.yaml"):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if "\nsources:\n" in f"\n{text}":
            yield file.parent


def _base_name(folder: Path) -> str:
    try:
        return fingerprint(without_sources(read_yaml(folder / "config.yaml")))
    except (UsageError, TypeError):
        return ""
