"""The kinds of entry, and what concerns all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ssmbench.errors import UsageError, suggest
from ssmbench.registry.discovery import discover, isolated_discovery
from ssmbench.registry.registry import Place, Registry


def discover_plugins() -> None:
    """Import entry points, ``./plugins/*.py`` and the files of the plugin variable, each once."""
    discover(_taken_back_on_error)


#: Every kind by its name, in the order of listings.
KINDS: dict[str, Registry] = {}


def declare(kind: str, package: str, base: str, *places: Place, plural: str = "") -> Registry:
    """The registry of a new kind; the arguments are those of :class:`Registry`.

    All that depends on the kinds follows from this: listings, the sections of a run config and
    their defaults, the words that the command line accepts.
    """
    KINDS[kind] = Registry(
        kind, package, base=base, plural=plural, places=places, prepare=discover_plugins
    )
    return KINDS[kind]


def get_kind(word: str) -> Registry:
    """The registry of a kind, singular or plural.

    Raises:
        UsageError: no such kind.
    """
    for kind in KINDS.values():
        if word in (kind.kind, kind.plural):
            return kind
    raise UsageError(f"unknown kind {word!r}: {suggest(word, KINDS)}")


@contextmanager
def isolated(*, rediscover: bool = False) -> Iterator[None]:
    """A registry for a test: what is registered and found within is removed afterwards.

    It begins with the entries that are known now, all built-ins among them. With ``rediscover``,
    plugins are looked for anew, those that were imported or failed before too.
    """
    with ExitStack() as stack:
        for kind in KINDS.values():
            kind.load_builtins()  # Python imports them once: they would be lost afterwards
            stack.enter_context(kind.restored())
        stack.enter_context(isolated_discovery(rediscover))
        yield


@contextmanager
def _taken_back_on_error() -> Iterator[None]:
    with ExitStack() as stack:
        for kind in KINDS.values():
            kind.load_builtins()  # a clash of names is then the plugin's fault, not ours
            stack.enter_context(kind.restored(only_on_error=True))
        yield
