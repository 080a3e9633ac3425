"""A component of a run config as an object, checked as it comes from its author."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.config import build
from ssmbench.nn.contracts import check_built

Built = TypeVar("Built")


def built(
    kind: registry.Registry, component: Mapping[str, Any], base: type[Built], **context: Any
) -> Built:
    """What a resolved component describes.

    Raises:
        PluginError: it is not of the class that its kind has.
    """
    made = build(kind, component, **context)
    check_built(kind.get(component["name"]), made, base)
    return made
