"""The components of a run config: parts that refer to a registry entry and its options."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from ssmbench import registry
from ssmbench.config.layers import by_place
from ssmbench.config.places import COMPONENTS, LISTED
from ssmbench.config.schema import SECTIONS, RunConfig
from ssmbench.config.spelling import read_component
from ssmbench.config.validation import validated
from ssmbench.errors import require

#: Earlier results of :func:`options_of`, by schema and content: a suite has the same options in
#: many runs.
_built: dict[tuple[type, str], Any] = {}
_MAX_BUILT = 10_000


def resolve_component(kind: registry.Registry, component: Any, where: str) -> dict[str, Any]:
    """Complete a component that is given as a name or a mapping: ``{name, all options}``.

    ``where`` begins the error messages.

    Raises:
        UsageError: it is neither, the name or an option is unknown, or a value has a wrong type.
    """
    if isinstance(component, str):
        component = {"name": component}
    valid = isinstance(component, Mapping) and isinstance(component.get("name"), str)
    article = "an" if kind.kind[0] in "aeiou" else "a"
    require(
        valid, f"{where}: must be {article} {kind.kind}'s name, or a mapping with the key 'name'"
    )
    options = {key: value for key, value in component.items() if key != "name"}
    entry = kind.get(component["name"])
    return {"name": entry.name, **validated(entry.config, options, f"{where} ({entry.name})")}


def resolve_components(kind: registry.Registry, given: Any, where: str) -> list[dict[str, Any]]:
    """Complete a list of components, each a mapping or a text (:func:`read_component`), as
    :func:`resolve_component` does.

    Raises:
        UsageError: it is no list, one is there twice where it may not, or as
            :func:`resolve_component`.
    """
    require(
        isinstance(given, list),
        f"{where}: must be a list of {kind.plural}, each a name or a mapping with the key 'name', "
        f"got {given!r}",
    )
    found: list[dict[str, Any]] = []
    for index, one in enumerate(given):
        place = f"{where}.{index}"
        written = read_component(one, place) if isinstance(one, str) else one
        component = resolve_component(kind, written, place)
        again = any(p.unique for p in kind.places) and component in found
        require(not again, f"{place}: {component['name']} is there twice with the same options")
        found.append(component)
    return found


def build(kind: registry.Registry, component: Mapping[str, Any], **context: Any) -> Any:
    """Build the object that a resolved component describes; ``context`` goes to its factory."""
    entry = kind.get(component["name"])
    return entry.build(options_of(kind, component), **context)


def options_of(kind: registry.Registry, component: Mapping[str, Any]) -> Any:
    """The options of a resolved component, as an instance of its entry's config class."""
    options = {key: value for key, value in component.items() if key != "name"}
    schema = kind.get(component["name"]).config
    content = (schema, repr(options))
    if content not in _built:
        if len(_built) >= _MAX_BUILT:
            _built.clear()
        _built[content] = OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(schema), options)
        )
    return copy.deepcopy(_built[content])


def entries_of(config: Mapping[str, Any]) -> Iterator[tuple[str, registry.Entry]]:
    """The dotted path and the registry entry of each component of a run config; that of a list's
    member ends with its place, from 0.

    Components without a known name are skipped: a stored config may be damaged, or its plugin may
    be missing.
    """
    for path, kind in COMPONENTS.items():
        for place, component in _components_at(config, path):
            name = component.get("name") if isinstance(component, Mapping) else None
            if isinstance(name, str) and name in kind:
                yield place, kind.get(name)


def _components_at(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    parent, _, key = path.rpartition(".")
    section = config.get(parent) if parent else config
    component = section.get(key) if isinstance(section, Mapping) else None
    if path not in LISTED:
        yield path, component
    elif isinstance(component, list):
        yield from ((f"{path}.{place}", one) for place, one in by_place(component).items())


def schemas_of(config: Mapping[str, Any]) -> dict[str, type]:
    """The dataclasses that define the options of a run config, by the prefix of the paths."""
    sections = {"": RunConfig} | {f"{name}.": schema for name, schema in SECTIONS.items()}
    return sections | {f"{path}.": entry.config for path, entry in entries_of(config)}
