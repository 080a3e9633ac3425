"""Measures as a user names them: ``band_gain(low=0.1, high=1)``, or a mapping with the key name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ssmbench.analysis.measured import Measured
from ssmbench.config.components import build, resolve_component
from ssmbench.errors import UsageError, require
from ssmbench.registry import measures
from ssmbench.systems import LinearSystem, TimeVaryingSystem

#: A measure as a component of a config: its name and all of its options.
Component = Mapping[str, Any]
_WRITTEN = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_KEY = re.compile(r"(\w+)\s*=\s*")


def chosen(given: Iterable[str | Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """The measures that are meant, each with all of its options.

    Raises:
        UsageError: a name or an option is unknown, a value is not allowed, or the text is neither a
            name nor a name with options in parentheses.
    """
    require(not isinstance(given, str), f"{where}: must be a list of measures, got {given!r}")
    found = [
        resolve_component(measures, _read(one, where) if isinstance(one, str) else one, where)
        for one in given
    ]
    for component in found:
        build(measures, component)  # a value that is not allowed is refused before anything runs
    return found


def _read(text: str, where: str) -> dict[str, Any]:
    found = _WRITTEN.fullmatch(text)
    problem = f"{where}: must be NAME or NAME(option=value, ...), got {text!r}"
    if found is None:
        raise UsageError(problem)
    try:
        options = yaml.safe_load("{" + _KEY.sub(r"\1: ", found[2] or "") + "}")
    except (yaml.YAMLError, ValueError):  # of a date that there is not
        raise UsageError(problem) from None
    require("name" not in options, problem)
    return {"name": found[1], **options}


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
