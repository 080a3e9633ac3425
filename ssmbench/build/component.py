"""Build a component of a run config, and check the object that its author's code returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.config import build
from ssmbench.nn.contracts import check_built

Component = TypeVar("Component")


def build_component(
    kind: registry.Registry, component: Mapping[str, Any], base: type[Component], **context: Any
) -> Component:
    """The object that a resolved component describes.

    Raises:
        PluginError: it is not an instance of ``base``, the class of its kind.
    """
    made = build(kind, component, **context)
    check_built(kind.get(component["name"]), made, base)
    return made
