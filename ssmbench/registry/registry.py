"""One generic registry for everything that a user can name in a config.

An entry is made by a decorator that stands on the definition itself, so adding a variant touches
one file. Built-ins, entry points and plugin files are imported the first time a name is looked up.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from ssmbench.errors import UsageError, require, suggest
from ssmbench.registry.discovery import failures_in_short
from ssmbench.registry.entry import Entry, NoOptions
from ssmbench.registry.source import source_digest

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """Where a run config names an entry of a kind; ``path`` is dotted.

    ``default`` is the entry of a run that names none; None where a run can do without one.
    ``default_implied``: a mapping of options without a name means the default entry whatever it is
    merged with: ``optimizer: {lr: 0.01}`` is AdamW's. ``added``: see
    :func:`ssmbench.options.option`; a place that was added later has the default None.
    """

    path: str
    default: str | None = None
    default_implied: bool = False
    added: int = 0


class Registry(Generic[T]):
    """The entries of one kind, found by name.

    Args:
        kind: the kind's name, in the singular.
        package: its built-in entries are in the modules of this package and its sub-packages.
        base: ``module:Class`` that every entry which is a class derives from; "" for any.
        plural: that of ``kind``, where it does not follow the rule.
        places: where a run config names an entry.
        prepare: called before every lookup; it may add entries.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        base: str = "",
        plural: str = "",
        places: tuple[Place, ...] = (),
        prepare: Callable[[], None] = lambda: None,
    ):
        self.kind = kind
        self.package = package
        self.base = base
        self.plural = plural or _plural(kind)
        self.places = places
        self._entries: dict[str, Entry[T]] = {}
        self._prepare = prepare
        self._builtins_loaded = False

    def register(
        self, name: str, *, config: type = NoOptions, citation: str = "", summary: str = ""
    ) -> Callable[[F], F]:
        """Decorator that makes the class below it known as ``name``.

        Running the same definition again (a reload, a notebook cell) replaces it, and so does
        importing a plugin file again after an edit.

        Raises:
            UsageError: another definition has the name (both origins are given as file:line), a
                config that is no dataclass, or a class that does not derive from the kind's base.
        """
        caller = sys._getframe(1)
        file, module = caller.f_code.co_filename, caller.f_globals.get("__name__", "")
        origin = f"{file}:{caller.f_lineno}"

        def add(factory: F) -> F:
            _check_config(config, f"{self.kind} {name!r} ({origin})")
            self._check_base(factory, f"{self.kind} {name!r} ({origin})")
            text = summary or _first_line(factory.__doc__)
            entry = Entry(self.kind, name, factory, config, citation, text, origin, module)
            if not entry.builtin:
                entry = replace(entry, source_digest=source_digest(file, module, factory))
            self._add(entry)
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
            _import_modules(importlib.import_module(self.package))
        except BaseException:
            self._builtins_loaded = False
            raise

    def _check_base(self, factory: Callable[..., T], where: str) -> None:
        """Imports nothing: who derives from a class has imported it."""
        if not (self.base and isinstance(factory, type)):
            return
        module, _, name = self.base.partition(":")
        base = getattr(sys.modules.get(module), name, None)
        require(
            base is not None and issubclass(factory, base),
            f"{where}: the class {factory.__name__} must derive from {module}.{name}",
        )

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
        failed = failures_in_short()
        tail = f" (plugins that failed to import: {failed})" if failed else ""
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
        """Remove afterwards what was registered within; on request only after an error."""
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


def _import_modules(package: ModuleType) -> None:
    """What is in a package, and in those of its sub-packages that are mere folders.

    A sub-package with code in its ``__init__`` imports what it needs of its own modules, when it
    needs them: kernels, for example, need their compiler.
    """
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        if found.ispkg and _is_folder(module):
            _import_modules(module)


def _is_folder(package: ModuleType) -> bool:
    """Whether its ``__init__`` is empty, but for a docstring."""
    names = (name for name in vars(package) if not name.startswith("__"))
    return all(f"{package.__name__}.{name}" in sys.modules for name in names)


def _check_config(config: type, where: str) -> None:
    require(
        isinstance(config, type) and dataclasses.is_dataclass(config),
        f"{where}: config={getattr(config, '__name__', config)} must be a dataclass, a class under "
        "@dataclass whose fields are the options and their defaults",
    )


def _is_rerun(old: Entry, new: Entry) -> bool:
    file, edited = _file(new), old.source_digest != new.source_digest
    if edited and file == _file(old) and Path(file).is_file():
        return True  # two definitions in one state of a file have the same digest
    same_definition = _identity(old.factory) == _identity(new.factory)
    interactive = getattr(new.factory, "__module__", "") == "__main__"
    return same_definition and (old.origin == new.origin or interactive)


def _file(entry: Entry) -> str:
    return entry.origin.rpartition(":")[0]


def _identity(factory: Callable) -> tuple[str, str]:
    return getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
