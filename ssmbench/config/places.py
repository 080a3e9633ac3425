"""The places of components in the run config, as the kinds declare them."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssmbench.options import option
from ssmbench.registry import KINDS, Registry

_PLACES = [(place, kind) for kind in KINDS.values() for place in kind.places]

#: The registry of each component by its dotted path in a run config.
COMPONENTS: dict[str, Registry] = {place.path: kind for place, kind in _PLACES}

#: The paths of optional components.
OPTIONAL = frozenset(place.path for place, _ in _PLACES if place.default is None)

#: The paths of lists of components.
LISTED = frozenset(place.path for place, _ in _PLACES if place.many)

#: The name that a mapping without a name implies, by the last part of the path.
IMPLIED_NAMES = {
    place.path.rpartition(".")[2]: place.default for place, _ in _PLACES if place.default_implied
}

#: The paths of the entries' names in fingerprints, for places that held a name only in the past.
FORMER_OPTIONS = {f"{place.path}.name": place.path for place, _ in _PLACES if place.was_option}


def component_fields(section: str) -> Any:
    """A base class for the dataclass of a section of the run config, with a field per component.

    ``section`` is "" for the root. The return type is Any because type checkers cannot know fields
    that are created at run time.
    """
    components = []
    for place, _ in _PLACES:
        parent, _, name = place.path.rpartition(".")
        if parent == section:
            components.append((name, Any, option(place.default, added=place.added)))
    return dataclasses.make_dataclass(
        f"{section.title()}Components", components, namespace={"__module__": __name__}
    )
