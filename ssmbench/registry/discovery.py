"""Finding and importing plugins, each once.

Plugins are the modules that entry points name, the files ``./plugins/*.py``, and the files and
folders in the environment variable ``SSMBENCH_PLUGINS``.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError, line_within, one_line
from ssmbench.paths import absolute
from ssmbench.registry.source import source_digest

ENTRY_POINT_GROUP = "ssmbench.plugins"
PLUGINS_VARIABLE = "SSMBENCH_PLUGINS"
PLUGINS_FOLDER = "plugins"
#: How the names of other files in a folder of plugins begin: helpers, and tests of the plugins.
_NO_PLUGINS = ("_", "test_")
#: Name of the logger that reports which plugins were imported.
LOGGER = "ssmbench.plugins"

#: A context manager around the import of each plugin; on an error it removes what was registered.
Guard = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that could not be imported, with the reason in one line."""

    plugin: str
    reason: str


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that was imported.

    ``name``: of its entry point or, without suffix, its file. ``digest``: of its source
    (:func:`ssmbench.registry.source_digest`) at the time of import. ``version``: of the installed
    package; "" for a plugin file.
    """

    name: str
    file: str
    digest: str
    version: str = ""


@dataclass
class _Discovery:
    entry_points_done: bool = False
    places: tuple[Any, ...] = ()
    seen: set[str] = field(default_factory=set)
    loaded: list[LoadedPlugin] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)


_discovery = _Discovery()
#: Folders whose plugin files are not imported.
_untrusted: list[Path] = []


def discover(guard: Guard) -> None:
    """Import all plugins that were not tried before, and log which were imported from where."""
    found: dict[str, list[str]] = {}
    if not _discovery.entry_points_done:
        _discovery.entry_points_done = True
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            if _import_once(f"{point.name} ({point.value})", point.load, guard):
                found.setdefault(point.value, []).append(point.name)
                _discovery.loaded.append(_of_entry_point(point))
    places = _places()
    if places != _discovery.places:
        _discovery.places = places
        for file in plugin_files():
            if _import_once(str(file), lambda file=file: import_file(file), guard):
                found.setdefault(_shown(file.parent), []).append(file.stem)
                digest = source_digest(str(file), "")
                _discovery.loaded.append(LoadedPlugin(file.stem, str(file), digest))
    if found:
        text = "; ".join(f"{', '.join(names)} from {place}" for place, names in found.items())
        logging.getLogger(LOGGER).info("plugins: %s", text)


@contextmanager
def isolated_discovery(rediscover: bool) -> Iterator[None]:
    """Discard, on exit, what is discovered inside; with ``rediscover``, start with nothing."""
    global _discovery
    saved = _discovery
    _discovery = _Discovery() if rediscover else copy.deepcopy(saved)
    try:
        yield
    finally:
        _discovery = saved


@contextmanager
def untrusted(folder: Path) -> Iterator[None]:
    """A context in which no plugin file in ``folder`` is imported, whatever the working folder is:
    for folders that somebody else wrote."""
    _untrusted.append(folder.resolve())
    try:
        yield
    finally:
        _untrusted.pop()


def _of_entry_point(point: importlib.metadata.EntryPoint) -> LoadedPlugin:
    file = getattr(sys.modules[point.module], "__file__", None) or ""
    digest = source_digest(file, point.module)
    return LoadedPlugin(point.name, file, digest, point.dist.version if point.dist else "")


def _shown(folder: Path) -> str:
    here = Path(PLUGINS_FOLDER)
    return f"./{here}" if folder == here.resolve() else str(folder)


def _places() -> tuple[Any, ...]:
    """The places in which plugins are searched, and the file names in each."""
    paths = (PLUGINS_FOLDER, *os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep))
    names = (tuple(os.listdir(path)) if path and os.path.isdir(path) else None for path in paths)
    return os.getcwd(), *zip(paths, names, strict=True)


def add_plugin_paths(paths: Iterable[str | Path]) -> None:
    """Add plugin files or folders to the search, for this process and the processes that it starts.

    Raises:
        UsageError: a path does not exist, or is neither a folder nor a Python file.
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


def loaded_plugins() -> list[LoadedPlugin]:
    """The plugins that have been imported so far, in order of import."""
    return list(_discovery.loaded)


def plugin_failures() -> list[PluginFailure]:
    """The plugins whose import has failed so far."""
    return list(_discovery.failures)


def failure_summary() -> str:
    """The plugins whose import failed, each with the reason unless that was logged already."""
    logged = logging.getLogger(LOGGER).isEnabledFor(logging.INFO)
    return "; ".join(f.plugin if logged else f"{f.plugin}: {f.reason}" for f in _discovery.failures)


def plugin_files() -> list[Path]:
    """The plugin files of the working folder and of the environment; entry points are not files."""
    listed = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    files: list[Path] = []
    given = (absolute(part, PLUGINS_VARIABLE) for part in listed if part)
    for path in [Path(PLUGINS_FOLDER), *given]:
        if path.is_dir():
            files += sorted(f for f in path.glob("*.py") if not f.name.startswith(_NO_PLUGINS))
        elif path.suffix == ".py":
            files.append(path)
    found = dict.fromkeys(file.resolve() for file in files)
    return [file for file in found if not any(file.is_relative_to(f) for f in _untrusted)]


def _import_once(label: str, load: Callable[[], Any], guard: Guard) -> bool:
    """Import a plugin unless that was tried before; whether it was imported now."""
    if label in _discovery.seen:
        return False
    _discovery.seen.add(label)
    try:
        with guard(), contextlib.redirect_stdout(sys.stderr):  # stdout is for answers
            load()
    except (Exception, SystemExit) as error:  # runs that do not use it go on
        failure = PluginFailure(label, _reason(label, error))
        _discovery.failures.append(failure)
        logging.getLogger(LOGGER).info("plugin failed: %s: %s", failure.plugin, failure.reason)
        return False
    return True


def _reason(label: str, error: BaseException) -> str:
    """The error in one line, with the plugin's file and line unless the message contains them."""
    line = line_within(error, [label])
    return one_line(error) + (f" ({line})" if line and line not in str(error) else "")


def import_file(file: Path) -> None:
    """Import a plugin file as a module with a name derived from its path."""
    if not file.exists():
        raise FileNotFoundError(f"no such plugin file: {file}")
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"ssmbench_plugin_{file.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module during execution
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
