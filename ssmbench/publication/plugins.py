"""The sources of the plugins that a run used."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench.config.components import entries_of
from ssmbench.config.sources import sources_of
from ssmbench.errors import UsageError, require
from ssmbench.publication.layout import PLUGINS, PluginSource
from ssmbench.registry import Entry


def sources_in_use(config: Mapping[str, Any]) -> tuple[tuple[PluginSource, ...], dict[str, bytes]]:
    """The plugins of a stored config, and the contents of the files to be published, by path.

    Raises:
        UsageError: a plugin is not there, or is not the one that the run used.
    """
    recorded, entries = config.get("sources") or {}, dict(entries_of(config))
    now = sources_of(config)
    for where in {**recorded, **now}:
        same = recorded.get(where) == now.get(where)
        require(same, f"{where}: the plugin that this run used is not here, or was changed since")
    found, files = [], {}
    for where, digest in recorded.items():
        entry = entries[where]
        name, content = _source(entry, where)
        file = f"{PLUGINS}/{digest}/{name}" if name else ""
        files |= {file: content} if file else {}
        about = (where, entry.kind, entry.name, digest, file, entry.package, entry.version)
        found.append(PluginSource(*about))
    return tuple(found), files


def _source(entry: Entry, where: str) -> tuple[str, bytes]:
    """Name and content of the file that defines an entry; both empty if a package does."""
    if entry.package:
        return "", b""
    place = entry.origin.rpartition(":")[0]
    if Path(place).is_file():
        return Path(place).name, Path(place).read_bytes()
    text = "".join(linecache.getlines(place))
    if not text:
        raise UsageError(f"{where}: the source of {entry.kind} {entry.name!r} is not in a file")
    return "notebook_cell.py", text.encode()
