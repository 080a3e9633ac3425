"""What names a run: the fingerprint of its resolved config."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ssmbench import jsonio
from ssmbench.config.layers import leaves

#: Part of every fingerprint: raise it when the meaning of a config changes.
SCHEMA_VERSION = 2

#: Labels and places: what does not change a run's result is not part of its name. The data in a
#: place are, by their digest. A run that ``max_time`` ended has no result and goes on under more.
NOT_FINGERPRINTED = ("variant", "task.data_dir", "trainer.max_time")


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """12 hex digits that name a resolved config."""
    named = {path: value for path, value in leaves(resolved) if not _is_unnamed(path)}
    text = jsonio.dumps({"schema": SCHEMA_VERSION, **named}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_unnamed(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in NOT_FINGERPRINTED)
