"""The registry of one kind: entries by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
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
from ssmbench.registry.discovery import failure_summary
from ssmbench.registry.entry import Entry, NoOptions
from ssmbench.registry.outline import Outline, outlines
from ssmbench.registry.source import source_digest

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """Where a run config refers to an entry of a kind; ``path`` is dotted.

    ``default``: the entry if the config names none; None if the component is optional.
    ``default_implied``: a mapping of options without a name always refers to the default entry;
    ``optimizer: {lr: 0.01}``, for example, to AdamW. ``added``: see
    :func:`ssmbench.options.option`; a place that was added later must have the default None.
    ``was_option``: earlier versions had an option with the entry's name here; fingerprints keep it,
    so that earlier runs keep theirs. ``many``: a list of components, none by default; ``unique``:
    none of which may be there twice.
    """

    path: str
    default: str | None = None
    default_implied: bool = False
    added: int = 0
    was_option: bool = False
    many: bool = False
    unique: bool = False


class Registry(Generic[T]):
    """The entries of one kind, by name.

    Args:
        kind: the name of the kind, in the singular.
        package: the package whose modules and sub-packages contain the built-in entries.
        base: the required base class of entries that are classes, as ``module:Class``; "" for none.
        plural: the plural of ``kind``, if it is irregular.
        places: where a run config refers to an entry of this kind.
        prepare: called before every lookup; it may register entries.
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
        """Decorator that registers a class or function as ``name``.

        Executing the same definition again (a reload, a notebook cell) replaces the entry, and so
        does importing an edited plugin file again.

        Args:
            name: the name in configs.
            config: the dataclass of the entry's options.
            citation: the publication that describes the entry.
            summary: one line; default: the first line of the docstring.

        Raises:
            UsageError: the name is taken by another definition (the message gives both as
                file:line), ``config`` is not a dataclass, or the class does not derive from the
                base class of the kind.
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
        """Import the built-in entries of this kind, once."""
        if self._builtins_loaded:
            return
        self._builtins_loaded = True
        try:
            _import_modules(importlib.import_module(self.package))
        except BaseException:
            self._builtins_loaded = False
            raise

    def _check_base(self, factory: Callable[..., T], where: str) -> None:
        """Check the base class without importing it: a subclass has imported it already."""
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
        if old is None and not self._is_own(entry):
            old = self._builtin_outlines().get(entry.name) or self._entries.get(entry.name)
        if old is not None and not (isinstance(old, Entry) and _is_rerun(old, entry)):
            raise UsageError(
                f"{self.kind} {entry.name!r} is defined twice: {old.origin} and {entry.origin}"
            )
        self._entries[entry.name] = entry

    def _is_own(self, entry: Entry) -> bool:
        """Whether a module of the kind's own package, or of a neighbour of it, registers it."""
        return entry.module.partition(".")[0] == self.package.partition(".")[0]

    def _builtin_outlines(self) -> dict[str, Outline]:
        """The built-in entries by name where they are not imported yet, and so not known."""
        if not self._builtins_loaded and self._source is None:
            self.load_builtins()
        return {} if self._builtins_loaded else dict(self._source or {})

    @functools.cached_property
    def _source(self) -> dict[str, Outline] | None:
        """The built-in entries by name as their source says; None where it cannot be read."""
        read = outlines(self.kind, self.plural, self.package)
        return None if read is None else {outline.name: outline for outline in read}

    def outlines(self, pattern: str = "*") -> list[Outline]:
        """Name, summary and origin of :meth:`entries`. Plugins are imported for it, and built-in
        entries only where their source cannot be read."""
        self._prepare()
        known = self._builtin_outlines()
        for entry in self._entries.values():
            known[entry.name] = Outline(self.kind, entry.name, entry.summary, entry.origin)
        return [known[name] for name in sorted(fnmatch.filter(known, pattern))]

    def get(self, name: str) -> Entry[T]:
        """The entry with this name.

        Raises:
            UsageError: there is none; the message gives the nearest names, and the plugins that
                could not be imported.
        """
        self._load()
        if name not in self._entries:
            raise UsageError(self._unknown(name))
        return self._entries[name]

    def _unknown(self, name: str) -> str:
        failed = failure_summary()
        tail = f" (plugins that failed to import: {failed})" if failed else ""
        return f"unknown {self.kind} {name!r}: {suggest(name, self._entries)}{tail}"

    def entries(self, pattern: str = "*") -> list[Entry[T]]:
        """The entries whose names match a shell pattern, sorted by name."""
        self._load()
        return [self._entries[name] for name in sorted(fnmatch.filter(self._entries, pattern))]

    def names(self, pattern: str = "*") -> list[str]:
        """The sorted names that match a shell pattern."""
        return [entry.name for entry in self.entries(pattern)]

    @contextmanager
    def restored(self, only_on_error: bool = False) -> Iterator[None]:
        """Restore the entries on exit; with ``only_on_error``, only after an exception. Built-in
        entries stay: their modules, once imported, would not be executed again."""
        saved = dict(self._entries)
        try:
            yield
        except BaseException:
            self._entries = {n: e for n, e in self._entries.items() if self._is_own(e)} | saved
            raise
        if not only_on_error:
            self._entries = saved

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self.entries())

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._entries


def _import_modules(package: ModuleType) -> None:
    """Import all modules of a package, and of its sub-packages whose ``__init__`` is empty.

    A sub-package with code in its ``__init__`` imports its own modules as it needs them: modules of
    GPU kernels, for example, can be imported only where there is a compiler for them.
    """
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        if found.ispkg and _is_folder(module):
            _import_modules(module)


def _is_folder(package: ModuleType) -> bool:
    """Whether the ``__init__`` of a package has no code except a docstring."""
    names = (name for name in vars(package) if not name.startswith("__"))
    return all(f"{package.__name__}.{name}" in sys.modules for name in names)


def _check_config(config: type, where: str) -> None:
    require(
        isinstance(config, type) and dataclasses.is_dataclass(config),
        f"{where}: config={getattr(config, '__name__', config)} must be a dataclass with "
        "the options and their defaults as fields",
    )


def _is_rerun(old: Entry, new: Entry) -> bool:
    """Whether ``new`` is the definition of ``old`` executed again, possibly after an edit."""
    file, edited = _file(new), old.source_digest != new.source_digest
    if edited and file == _file(old) and Path(file).is_file():
        return True  # a second definition in the same file would have the same digest
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
