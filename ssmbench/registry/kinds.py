"""The kinds of entries, and functions on all of their registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ssmbench.errors import UsageError, suggest
from ssmbench.registry.discovery import discover, isolated_discovery
from ssmbench.registry.registry import Place, Registry


def discover_plugins() -> None:
    """Import entry points, ``./plugins/*.py`` and the files in ``SSMBENCH_PLUGINS``, each once."""
    discover(_rollback_on_error)


#: The registry of each kind by the name of the kind, in the order of listings.
KINDS: dict[str, Registry] = {}


def declare(kind: str, package: str, base: str, *places: Place, plural: str = "") -> Registry:
    """Create the registry of a new kind; the arguments are those of :class:`Registry`.

    Listings, the components of a run config with their defaults, and the kinds that the command
    line accepts all follow from this declaration.
    """
    KINDS[kind] = Registry(
        kind, package, base=base, plural=plural, places=places, prepare=discover_plugins
    )
    return KINDS[kind]


def get_kind(name: str) -> Registry:
    """The registry of the kind with this name, in the singular or the plural.

    Raises:
        UsageError: there is no such kind; the message suggests the nearest ones.
    """
    for kind in KINDS.values():
        if name in (kind.kind, kind.plural):
            return kind
    raise UsageError(f"unknown kind {name!r}: {suggest(name, KINDS)}")


@contextmanager
def isolated(*, rediscover: bool = False) -> Iterator[None]:
    """Remove, on exit, the entries that were registered and plugins that were found inside.

    For tests. The registries start with all entries known so far, including built-in ones. With
    ``rediscover``, plugins are searched again, also those that were imported or failed before.
    """
    with ExitStack() as stack:
        for kind in KINDS.values():
            kind.load_builtins()  # imported once only: inside, they would be lost on exit
            stack.enter_context(kind.restored())
        stack.enter_context(isolated_discovery(rediscover))
        yield


@contextmanager
def _rollback_on_error() -> Iterator[None]:
    with ExitStack() as stack:
        for kind in KINDS.values():
            stack.enter_context(kind.restored(only_on_error=True))
        yield
