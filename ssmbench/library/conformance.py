"""Check whether a registered entry fulfils the contract of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbench import registry
from ssmbench.config import options_of, resolve_component
from ssmbench.testing import examine_conformance
from ssmbench.testing.report import ConformanceReport


def conform(
    kind: str, name: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> ConformanceReport:
    """Check an entry against the contract of its kind.

    The report lists every check as passed, failed or skipped.

    >>> import ssmbench as sb
    >>> sb.conform("nonlinearity", "gelu").ok
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
    component = resolve_component(known, {"name": name, **(options or {})}, f"{kind} {name}")
    return examine_conformance(known.get(name), seed, options_of(known, component))
