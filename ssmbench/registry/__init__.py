"""One generic registry for everything that a user can name in a config.

An entry is made by a decorator that stands on the definition itself, so adding a variant touches
one file. Built-ins, entry points and plugin files are imported the first time a name is looked up.
"""

from ssmbench.registry.description import describe
from ssmbench.registry.discovery import (
    ENTRY_POINT_GROUP,
    LOGGER,
    PLUGINS_FOLDER,
    PLUGINS_VARIABLE,
    PluginFailure,
    add_plugin_paths,
    import_file,
    plugin_failures,
)
from ssmbench.registry.entry import Entry, NoOptions
from ssmbench.registry.kinds import (
    KINDS,
    discover_plugins,
    discretizers,
    isolated,
    kind_named,
    nonlinearities,
    normalisers,
    optimizers,
    parametrizations,
    scans,
    tasks,
)
from ssmbench.registry.registry import Registry

__all__ = [
    "ENTRY_POINT_GROUP",
    "KINDS",
    "LOGGER",
    "PLUGINS_FOLDER",
    "PLUGINS_VARIABLE",
    "Entry",
    "NoOptions",
    "PluginFailure",
    "Registry",
    "add_plugin_paths",
    "describe",
    "discover_plugins",
    "discretizers",
    "import_file",
    "isolated",
    "kind_named",
    "nonlinearities",
    "normalisers",
    "optimizers",
    "parametrizations",
    "plugin_failures",
    "scans",
    "tasks",
]
