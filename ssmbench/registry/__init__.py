"""The registries of everything that a config refers to by name, one for each kind.

An entry is registered by a decorator on its definition, so a new variant is one file. Built-in
modules, entry points and plugin files are imported when a name is first looked up. A new kind is
one declaration below.
"""

from ssmbench.registry.description import describe
from ssmbench.registry.discovery import (
    ENTRY_POINT_GROUP,
    LOGGER,
    PLUGINS_FOLDER,
    PLUGINS_VARIABLE,
    LoadedPlugin,
    PluginFailure,
    add_plugin_paths,
    import_file,
    loaded_plugins,
    plugin_failures,
    plugin_files,
    untrusted,
)
from ssmbench.registry.entry import Entry, NoOptions
from ssmbench.registry.kinds import (
    KINDS,
    declare,
    discover_plugins,
    get_kind,
    isolated,
)
from ssmbench.registry.outline import Outline
from ssmbench.registry.registry import Place, Registry
from ssmbench.registry.source import source_digest

__all__ = [
    "ENTRY_POINT_GROUP",
    "KINDS",
    "LOGGER",
    "PLUGINS_FOLDER",
    "PLUGINS_VARIABLE",
    "Entry",
    "LoadedPlugin",
    "NoOptions",
    "Outline",
    "Place",
    "PluginFailure",
    "Registry",
    "add_plugin_paths",
    "declare",
    "describe",
    "discover_plugins",
    "get_kind",
    "import_file",
    "isolated",
    "loaded_plugins",
    "plugin_failures",
    "plugin_files",
    "source_digest",
    "untrusted",
]

parametrizations = declare(
    "parametrization",
    "ssmbench.parametrizations",
    "ssmbench.parametrizations.base:Parametrization",
    Place("model.parametrization", default="s4d"),
)
discretizers = declare(
    "discretizer",
    "ssmbench.discretizers",
    "ssmbench.discretizers.base:Discretizer",
    Place("model.discretizer"),
)
normalisers = declare(
    "normaliser",
    "ssmbench.normalisers",
    "ssmbench.normalisers.base:Normaliser",
    Place("model.normaliser"),
)
scans = declare(
    "scan",
    "ssmbench.scans",
    "ssmbench.scans.base:ScanBackend",
    Place("model.scan", default="auto"),
)
blocks = declare(
    "block",
    "ssmbench.nn.blocks",
    "ssmbench.nn.blocks.base:Block",
    Place("model.block", added=2),
)
nonlinearities = declare(
    "nonlinearity",
    "ssmbench.nn.nonlinearities",
    "ssmbench.nn.nonlinearities.base:Nonlinearity",
    Place("model.nonlinearity", default="gelu"),
)
norms = declare(
    "norm",
    "ssmbench.nn.norms",
    "ssmbench.nn.norms.base:Norm",
    Place("model.norm", default="none", was_option=True),
    Place("model.final_norm", added=2),
)
encoders = declare(
    "encoder",
    "ssmbench.nn.encoders",
    "ssmbench.nn.encoders.base:Encoder",
    Place("model.encoder", added=2),
)
decoders = declare(
    "decoder",
    "ssmbench.nn.decoders",
    "ssmbench.nn.decoders.base:Decoder",
    Place("model.decoder", added=2),
)
optimizers = declare(
    "optimizer",
    "ssmbench.optimizers",
    "torch.optim:Optimizer",
    Place("optimizer", default="adamw", default_implied=True),
)
tasks = declare(
    "task",
    "ssmbench.tasks",
    "ssmbench.tasks.base:Task",
    Place("task", default="digits"),
)
augmentations = declare(
    "augmentation",
    "ssmbench.augmentations",
    "ssmbench.augmentations.base:Augmentation",
    Place("augment", many=True, added=2),
)
callbacks = declare(
    "callback",
    "ssmbench.training.callbacks",
    "lightning.pytorch.callbacks:Callback",
    Place("callbacks", many=True, added=2),
)
measures = declare(
    "measure",
    "ssmbench.measures",
    "ssmbench.measures.base:Measure",
    Place("analysis.measures", many=True, unique=True, added=2),
)
reducers = declare(
    "reducer",
    "ssmbench.reduction",
    "ssmbench.reduction.base:Reducer",
    Place("truncation.reducer", added=2),
)
launchers = declare("launcher", "ssmbench.launchers", "ssmbench.launchers.base:Launcher")
importers = declare("importer", "ssmbench.importers", "ssmbench.importers.base:Importer")
exporters = declare("exporter", "ssmbench.exporters", "ssmbench.exporters.base:Exporter")
