"""The source code of the plugins that a run uses, as part of the run's identity.

A resolved config contains the source digest of every entry that is not built in. When a plugin is
edited, its runs get another fingerprint, and earlier results are not used for them.
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
    """The current source digests of the components that are not built in, by dotted path."""
    return {path: entry.source_digest for path, entry in entries_of(config) if not entry.builtin}


def without_sources(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the digests of its plugins: the same for every version of their code."""
    return {key: value for key, value in config.items() if key != "sources"}


def changed_sources(config: Mapping[str, Any]) -> list[str]:
    """One sentence for each plugin whose code differs from that of the run with this stored config.

    Empty for a run from a version that did not record digests.
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
            yield f"{path}: the {entry.kind} {entry.name!r} was a plugin and is now built in"
        elif entry.source_digest != digest:
            place = entry.origin.rpartition(":")[0]
            yield f"{place} changed since this run: {entry.kind} {entry.name!r} may differ"


def check_sources(config: Mapping[str, Any]) -> None:
    """Raise a UsageError if a plugin was edited after this config was resolved: the fingerprint of
    the run would not match the code.
    """
    changes = changed_sources(config)
    require(not changes, f"{'; '.join(changes)}; start the run again")


def earlier_sources(root: Path, resolved: Mapping[str, Any]) -> list[Path]:
    """Folders in ``root`` of runs with the same config but different plugin code.

    For a run with built-in components only, no file is read. :func:`changed_sources` of a found
    run's config states the differences.
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
    """The folders of runs with recorded digests, found without parsing all other configs."""
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
