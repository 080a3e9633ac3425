"""Measures as a user names them, in a config and elsewhere: ``band_gain(low=0.1, high=1)``, or a
mapping with the key name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ssmbench.analysis.measured import Measured
from ssmbench.config.components import build, resolve_component, resolve_components
from ssmbench.errors import UsageError, require
from ssmbench.registry import measures
from ssmbench.systems import LinearSystem, TimeVaryingSystem

#: A measure as a component of a config: its name and all of its options.
Component = Mapping[str, Any]


def chosen(given: Iterable[str | Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """The measures that are meant, each with all of its options.

    Raises:
        UsageError: a name or an option is unknown, a value is not allowed, a measure is there
            twice, or a text is neither a name nor a name with options in parentheses.
    """
    require(not isinstance(given, str), f"{where}: must be a list of measures, got {given!r}")
    found = resolve_components(measures, list(given), where)
    for component in found:
        build(measures, component)  # a value that is not allowed is refused before anything runs
    return found


def label(component: Component) -> str:
    """How a measure is called: its name, with the options that differ from their defaults."""
    defaults = resolve_component(measures, component["name"], "measure")
    changed = {k: v for k, v in component.items() if v != defaults[k]}
    options = ", ".join(f"{key}={value}" for key, value in changed.items())
    return f"{component['name']}({options})" if options else component["name"]


def measured(
    system: LinearSystem | TimeVaryingSystem, components: Iterable[Component]
) -> dict[str, Measured]:
    """The measures of a system, by :func:`label`.

    Raises:
        UsageError: a measure is not defined for the system; the message says why.
    """
    found = {}
    for component in components:
        try:
            found[label(component)] = build(measures, component).measure(system)
        except UsageError as error:
            raise UsageError(f"measure {component['name']}: {error}") from None
    return found
