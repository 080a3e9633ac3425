"""What names a run: the fingerprint of its resolved config."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from ssmbench import jsonio
from ssmbench.config.components import schemas_of
from ssmbench.config.layers import leaves
from ssmbench.options import added

#: Part of every fingerprint: raise it when the meaning of a config changes.
SCHEMA_VERSION = 2

#: Labels and places: what does not change a run's result is not part of its name. The data in a
#: place are, by their digest. A run that ``max_time`` ended has no result and goes on under more.
NOT_FINGERPRINTED = ("variant", "task.data_dir", "trainer.max_time")


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """12 hex digits that name a resolved config.

    An option that was added to the present schema is left out while it has its default: see
    :func:`ssmbench.options.option` for what a new option must do so that earlier runs still count.
    """
    later = _added_later(resolved)
    named = {
        path: value
        for path, value in leaves(resolved)
        if not _is_unnamed(path) and not (path in later and later[path] == value)
    }
    text = jsonio.dumps({"schema": SCHEMA_VERSION, **named}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _added_later(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the options that the present schema did not begin with, by dotted path."""
    return {
        prefix + name: default.name if isinstance(default, Enum) else default
        for prefix, schema in schemas_of(config).items()
        for name, (version, default) in added(schema).items()
        if version == SCHEMA_VERSION
    }


def _is_unnamed(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in NOT_FINGERPRINTED)
