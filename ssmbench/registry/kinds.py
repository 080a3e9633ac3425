"""The kinds of entry, and what concerns all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ssmbench.errors import UsageError, suggest
from ssmbench.registry.discovery import discover, isolated_discovery
from ssmbench.registry.registry import Registry


def discover_plugins() -> None:
    """Import entry points, ``./plugins/*.py`` and the files of the plugin variable, each once."""
    discover(_taken_back_on_error)


KINDS: dict[str, Registry] = {}


def _declare(kind: str, package: str) -> Registry:
    KINDS[kind] = Registry(kind, package, discover_plugins)
    return KINDS[kind]


parametrizations = _declare("parametrization", "ssmbench.parametrizations")
discretizers = _declare("discretizer", "ssmbench.discretizers")
normalisers = _declare("normaliser", "ssmbench.normalisers")
scans = _declare("scan", "ssmbench.scans")
nonlinearities = _declare("nonlinearity", "ssmbench.nn.nonlinearities")
optimizers = _declare("optimizer", "ssmbench.optimizers")
tasks = _declare("task", "ssmbench.tasks")


def kind_named(word: str) -> Registry:
    """The registry of a kind, singular or plural.

    Raises:
        UsageError: no such kind.
    """
    singular = {"nonlinearities": "nonlinearity"}.get(word, word.removesuffix("s"))
    if singular not in KINDS:
        raise UsageError(f"unknown kind {word!r}: {suggest(word, KINDS)}")
    return KINDS[singular]


@contextmanager
def isolated(*, rediscover: bool = False) -> Iterator[None]:
    """A registry for a test: what is registered and found within is forgotten afterwards.

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
