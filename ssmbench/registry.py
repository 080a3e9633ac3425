"""One generic registry for everything that a user can name in a config.

An entry is made by a decorator that stands on the definition itself, so adding a variant touches
one file. Built-ins, entry points and plugin files are imported the first time a name is looked up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar

from ssmbench.errors import UsageError, one_line, suggest
from ssmbench.paths import absolute

T = TypeVar("T")

ENTRY_POINT_GROUP = "ssmbench.plugins"
PLUGINS_VARIABLE = "SSMBENCH_PLUGINS"
PLUGINS_FOLDER = "plugins"
#: Says which plugins were imported.
LOGGER = "ssmbench.plugins"


@dataclass
class NoOptions:
    """The config of an entry that has nothing to configure."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What the registry knows of one name.

    ``factory`` is called as ``factory(config, **context)``: every kind is built the same way.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    config: type
    citation: str
    summary: str
    origin: str

    def build(self, config: Any = None, **context: Any) -> T:
        """The object, from an instance of :attr:`config` (its defaults where None).

        Raises:
            UsageError: a choice, among the options, that is not one of its enum's members.
        """
        options = self.config() if config is None else config
        self._check_choices(options)
        return self.factory(options, **context)

    def _check_choices(self, options: Any) -> None:
        """A string would pass for a member, and every comparison with one would fail in silence."""
        for option in dataclasses.fields(self.config):
            kind, value = type(option.default), getattr(options, option.name, option.default)
            if isinstance(option.default, Enum) and not isinstance(value, kind):
                names = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
                raise UsageError(
                    f"{self.kind} {self.name}: {option.name}: {value!r} is none of {names}"
                )


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that could not be imported, and the last line of why."""

    plugin: str
    reason: str


class Registry(Generic[T]):
    """The entries of one kind, found by name."""

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry[T]] = {}
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
        discover_plugins()

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


parametrizations: Registry = Registry("parametrization", "ssmbench.parametrizations")
discretizers: Registry = Registry("discretizer", "ssmbench.discretizers")
normalisers: Registry = Registry("normaliser", "ssmbench.normalisers")
scans: Registry = Registry("scan", "ssmbench.scans")
nonlinearities: Registry = Registry("nonlinearity", "ssmbench.nn.nonlinearities")
optimizers: Registry = Registry("optimizer", "ssmbench.optimizers")
tasks: Registry = Registry("task", "ssmbench.tasks")

KINDS: Mapping[str, Registry] = {
    registry.kind: registry
    for registry in (
        parametrizations,
        discretizers,
        normalisers,
        scans,
        nonlinearities,
        optimizers,
        tasks,
    )
}


def kind_named(word: str) -> Registry:
    """The registry of a kind, singular or plural.

    Raises:
        UsageError: no such kind.
    """
    singular = {"nonlinearities": "nonlinearity"}.get(word, word.removesuffix("s"))
    if singular not in KINDS:
        raise UsageError(f"unknown kind {word!r}: {suggest(word, KINDS)}")
    return KINDS[singular]


# --- discovery ----------------------------------------------------------------------------------


@dataclass
class _Discovery:
    entry_points_done: bool = False
    places: tuple[Any, ...] = ()
    seen: set[str] = field(default_factory=set)
    failures: list[PluginFailure] = field(default_factory=list)


_discovery = _Discovery()


def discover_plugins() -> None:
    """Import entry points, ``./plugins/*.py`` and the files of the plugin variable, each once.

    What was imported, and from where, is logged: the command line prints it.
    """
    found: dict[str, list[str]] = {}
    if not _discovery.entry_points_done:
        _discovery.entry_points_done = True
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            if _import_once(f"{point.name} ({point.value})", point.load):
                found.setdefault(point.value, []).append(point.name)
    places = _places()
    if places != _discovery.places:
        _discovery.places = places
        for file in _plugin_files():
            if _import_once(str(file), lambda file=file: _import_file(file)):
                found.setdefault(_shown(file.parent), []).append(file.stem)
    if found:
        text = "; ".join(f"{', '.join(names)} from {place}" for place, names in found.items())
        logging.getLogger(LOGGER).info("plugins: %s", text)


def _shown(folder: Path) -> str:
    here = Path(PLUGINS_FOLDER)
    return f"./{here}" if folder == here.resolve() else str(folder)


def _places() -> tuple[Any, ...]:
    """Where plugins are looked for, and the names of what is there."""
    paths = (PLUGINS_FOLDER, *os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep))
    names = (tuple(os.listdir(path)) if path and os.path.isdir(path) else None for path in paths)
    return os.getcwd(), *zip(paths, names, strict=True)


def add_plugin_paths(paths: Iterable[str | Path]) -> None:
    """Add files or folders of plugins, for this process and those it starts.

    Raises:
        UsageError: a path does not exist.
    """
    added = []
    for path in (absolute(path, "--plugins") for path in paths):
        if not path.exists():
            raise UsageError(f"--plugins {path}: no such file or folder")
        if not (path.is_dir() or path.suffix == ".py"):
            raise UsageError(f"--plugins {path}: must be a Python file or a folder of them")
        added.append(str(path))
    if added:
        # The variable, not a list in memory: worker processes and DDP ranks inherit it.
        known = [part for part in os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep) if part]
        os.environ[PLUGINS_VARIABLE] = os.pathsep.join(dict.fromkeys(known + added))


def plugin_failures() -> list[PluginFailure]:
    """The plugins that could not be imported so far."""
    return list(_discovery.failures)


def _plugin_files() -> list[Path]:
    listed = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    files: list[Path] = []
    given = (absolute(part, PLUGINS_VARIABLE) for part in listed if part)
    for path in [Path(PLUGINS_FOLDER), *given]:
        if path.is_dir():
            files += sorted(f for f in path.glob("*.py") if not f.name.startswith("_"))
        elif path.suffix == ".py":
            files.append(path)
    return list(dict.fromkeys(file.resolve() for file in files))


def _import_once(label: str, load: Callable[[], Any]) -> bool:
    """Whether it was imported now, and without an error."""
    if label in _discovery.seen:
        return False
    _discovery.seen.add(label)
    for registry in KINDS.values():  # a clash of names is then the plugin's fault, not ours
        registry.load_builtins()
    saved = {kind: dict(registry._entries) for kind, registry in KINDS.items()}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for what was asked for
            load()
    except (Exception, SystemExit) as error:  # a broken plugin stops no run that does not name it
        for kind, registry in KINDS.items():
            registry._entries = saved[kind]
        _discovery.failures.append(PluginFailure(label, one_line(error)))
        return False
    return True


def _import_file(file: Path) -> None:
    if not file.exists():
        raise FileNotFoundError(f"no such plugin file: {file}")
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"ssmbench_plugin_{file.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the file runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


# --- description --------------------------------------------------------------------------------


def describe(entry: Entry) -> dict[str, Any]:
    """An entry in plain values: its identity, its options with defaults, its class's facts."""
    facts = getattr(entry.factory, "describe", dict)()
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.summary,
        "citation": entry.citation,
        "origin": entry.origin,
        "options": {f.name: _default(f) for f in dataclasses.fields(entry.config)},
        "facts": facts,
    }


def _default(option: dataclasses.Field) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    value = None if option.default is dataclasses.MISSING else option.default
    return value.name if isinstance(value, Enum) else value
