"""Plugins with one fault each, and the check that finds it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssmbench import registry
from ssmbench.library.templates import FOLDER, template
from ssmbench.registry import Entry, NoOptions


@dataclass(frozen=True)
class Wrong:
    """A plugin with one fault, which the check of this name must find.

    ``says``: a pattern that the finding contains. ``also``: checks that must find the same fault.
    """

    kind: str
    check: str
    factory: Callable[..., Any]
    says: str
    config: type = NoOptions
    also: tuple[str, ...] = ()

    @property
    def entry(self) -> Entry:
        return Entry(self.kind, "planted", self.factory, self.config, "", "planted", "here:1")

    def __str__(self) -> str:
        return f"{self.kind}-{self.check}-{getattr(self.factory, '__name__', 'factory')}"


@functools.cache
def example(kind: str) -> Entry:
    """What ``ssmbench new`` writes for a kind, without leaving it in the registry."""
    with registry.isolated():
        registry.import_file(FOLDER / f"{kind}.py")
        return registry.KINDS[kind].get(template(kind).example)


def no_module(config: Any, **context: Any) -> object:
    """Builds something that is of no kind."""
    return object()


def claiming(method: Any, **false: Any) -> type:
    """The discretizer with some of its computed facts replaced by false ones."""
    facts = dataclasses.replace(method(NoOptions()).facts, **false)
    return type(f"{method.__name__}_{next(iter(false))}", (method,), {"facts": facts})
