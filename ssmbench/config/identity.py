"""The identity of a run: the fingerprint of its resolved config."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from ssmbench import jsonio
from ssmbench.config.components import schemas_of
from ssmbench.config.layers import leaves
from ssmbench.config.places import FORMER_OPTIONS
from ssmbench.options import added

#: Part of every fingerprint; to be raised when the meaning of a config changes.
SCHEMA_VERSION = 2

#: Options that do not affect the result of a run, and therefore not its fingerprint. (The data in
#: ``data_dir`` do, by their digest, and so do the weights in ``start``. A run that reached
#: ``max_time`` has no result yet and can be resumed with a longer time.)
NOT_FINGERPRINTED = (
    *("variant", "task.data_dir", "analysis.figures", "start"),
    *("trainer.max_time", "trainer.timeout"),
)


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that identify a resolved config.

    An option that was added to the current version of the schema is left out if it has its default
    value, so that earlier runs keep their fingerprints; see :func:`ssmbench.options.option`.
    """
    later = _added_later(resolved)
    identifying = {
        FORMER_OPTIONS.get(path, path): value
        for path, value in leaves(resolved)
        if not _is_excluded(path) and not (path in later and later[path] == value)
    }
    text = jsonio.dumps({"schema": SCHEMA_VERSION, **identifying}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _added_later(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of options that were added to the current schema version, by dotted path."""
    return {
        prefix + name: default.name if isinstance(default, Enum) else default
        for prefix, schema in schemas_of(config).items()
        for name, (version, default) in added(schema).items()
        if version == SCHEMA_VERSION
    }


def _is_excluded(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in NOT_FINGERPRINTED)
