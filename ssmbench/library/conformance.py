"""Check whether a registered entry fulfils the contract of its kind."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.config import options_of, resolve_component
from ssmbench.registry import Entry
from ssmbench.testing import examine_conformance
from ssmbench.testing.report import ConformanceReport


def check(
    kind: str, name: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> ConformanceReport:
    """Check an entry against the contract of its kind.

    The report lists every check as passed, failed or skipped. A task is checked in its small form
    (:meth:`ssmbench.tasks.base.Task.tiny`), which needs no data, unless options are given.

    >>> import ssmbench as sb
    >>> sb.check("nonlinearity", "gelu").ok
    True

    Args:
        kind: for example "parametrization".
        name: as in ``list(kind)``.
        options: options of the entry, in place of its defaults.
        seed: seed of the random numbers in each check.

    Raises:
        UsageError: a kind, name or option is unknown.
    """
    known = registry.get_kind(kind)
    entry = known.get(name)
    with tempfile.TemporaryDirectory() as folder:
        chosen = {**(options or _small_form(entry, Path(folder)))}
        component = resolve_component(known, {"name": name, **chosen}, f"{kind} {name}")
        return examine_conformance(entry, seed, options_of(known, component))


def _small_form(entry: Entry, folder: Path) -> Mapping[str, Any]:
    tiny = getattr(entry.factory, "tiny", None)
    return tiny(folder) if tiny is not None else {}
