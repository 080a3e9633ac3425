"""One generic registry for everything that a user can name in a config.

An entry is made by a decorator that stands on the definition itself, so adding a variant touches
one file. Built-ins, entry points and plugin files are imported the first time a name is looked up.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ssmbench.errors import UsageError, suggest
from ssmbench.registry.discovery import plugin_failures
from ssmbench.registry.entry import Entry, NoOptions

T = TypeVar("T")


class Registry(Generic[T]):
    """The entries of one kind, found by name."""

    def __init__(self, kind: str, package: str, prepare: Callable[[], None] = lambda: None):
        """``prepare`` is called before every lookup: it may add entries."""
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry[T]] = {}
        self._prepare = prepare
        self._builtins_loaded = False

    def register(
        self, name: str, *, config: type = NoOptions, citation: str = "", summary: str = ""
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator that makes the class below it known as ``name``.

        Running the same definition again (a reload, a notebook cell) replaces it.

        Raises:
            UsageError: another definition has the name; both origins are given as file:line.
        """
        caller = sys._getframe(1)
        origin = f"{caller.f_code.co_filename}:{caller.f_lineno}"

        def add(factory: Callable[..., T]) -> Callable[..., T]:
            text = summary or _first_line(factory.__doc__)
            self._add(Entry(self.kind, name, factory, config, citation, text, origin))
            return factory

        return add

    def _load(self) -> None:
        self.load_builtins()
        self._prepare()

    def load_builtins(self) -> None:
        """Import the modules of this kind's own package, once."""
        if self._builtins_loaded:
            return
        self._builtins_loaded = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            self._builtins_loaded = False
            raise

    def _add(self, entry: Entry[T]) -> None:
        old = self._entries.get(entry.name)
        if old is not None and not _is_rerun(old, entry):
            raise UsageError(
                f"{self.kind} {entry.name!r} is defined twice: {old.origin} and {entry.origin}"
            )
        self._entries[entry.name] = entry

    def get(self, name: str) -> Entry[T]:
        """The entry called ``name``.

        Raises:
            UsageError: no such name; says the nearest ones and which plugins failed to import.
        """
        self._load()
        if name not in self._entries:
            raise UsageError(self._unknown(name))
        return self._entries[name]

    def _unknown(self, name: str) -> str:
        failures = "; ".join(f"{f.plugin}: {f.reason}" for f in plugin_failures())
        tail = f" (plugins that failed to import: {failures})" if failures else ""
        return f"unknown {self.kind} {name!r}: {suggest(name, self._entries)}{tail}"

    def entries(self, pattern: str = "*") -> list[Entry[T]]:
        """All entries whose name matches a shell pattern, sorted by name."""
        self._load()
        return [self._entries[name] for name in sorted(fnmatch.filter(self._entries, pattern))]

    def names(self, pattern: str = "*") -> list[str]:
        """The sorted names that match a shell pattern."""
        return [entry.name for entry in self.entries(pattern)]

    @contextmanager
    def restored(self, only_on_error: bool = False) -> Iterator[None]:
        """Forget afterwards what was registered within; only after an error if so asked."""
        saved = dict(self._entries)
        try:
            yield
        except BaseException:
            self._entries = saved
            raise
        if not only_on_error:
            self._entries = saved

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self.entries())

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._entries


def _is_rerun(old: Entry, new: Entry) -> bool:
    same_definition = _identity(old.factory) == _identity(new.factory)
    interactive = getattr(new.factory, "__module__", "") == "__main__"
    return same_definition and (old.origin == new.origin or interactive)


def _identity(factory: Callable) -> tuple[str, str]:
    return getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
