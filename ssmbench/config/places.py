"""Where the run config names entries, as the kinds declare it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssmbench.options import option
from ssmbench.registry import KINDS, Registry

_PLACES = [(place, kind) for kind in KINDS.values() for place in kind.places]

#: Where the components are in a run config, and the registry that knows them.
COMPONENTS: dict[str, Registry] = {place.path: kind for place, kind in _PLACES}

#: Those that a run can do without.
OPTIONAL = frozenset(place.path for place, _ in _PLACES if place.default is None)

#: The name that a mapping without one has, by the last part of its path.
IMPLIED_NAMES = {
    place.path.rpartition(".")[2]: place.default for place, _ in _PLACES if place.default_implied
}


def component_fields(section: str) -> Any:
    """A dataclass with a field for each component of a section of the run config, "" for the root.

    The section's own dataclass derives from it. The type is Any because type checkers do not know
    fields that are made while the program runs.
    """
    made = []
    for place, _ in _PLACES:
        parent, _, name = place.path.rpartition(".")
        if parent == section:
            made.append((name, Any, option(place.default, added=place.added)))
    return dataclasses.make_dataclass(
        f"{section.title()}Components", made, namespace={"__module__": __name__}
    )
