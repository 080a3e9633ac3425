"""Typed configs over OmegaConf: read, merge, validate, resolve, fingerprint.

A *component* is a mapping ``{name: ..., option: ...}`` whose options are those of the registry
entry of that name; a bare string is a component with default options. A resolved config is a plain
dict in which every option of every component stands, so its fingerprint names the run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssmbench import jsonio, registry
from ssmbench.errors import UsageError, require
from ssmbench.options import (
    COUNT,
    FOLDER,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNT,
    PROPER_FRACTION,
    SEED,
    SIZE,
    Allowed,
    declared,
    option,
)
from ssmbench.paths import absolute
from ssmbench.yamlio import first_line, read_override, read_yaml

#: Part of every fingerprint: raise it when the meaning of a config changes.
SCHEMA_VERSION = 2


_LAYERS = (POSITIVE, Allowed("at most 10000", lambda v: v <= 10_000))


@dataclass
class ModelConfig:
    """The network.

    ``norm`` is none or layer; ``pooling`` (for pooled tasks) mean, last or unit (sum / sqrt(L));
    ``residual`` add, convex or none. ``gamma`` prescribes the incremental gain of the whole.
    ``bidirectional`` adds to each SSM layer's output that of a second one in reversed time;
    ``initial_state`` is zero or learned.
    """

    d_model: int = option(32, SIZE)
    n_layers: int = option(2, _LAYERS)
    parametrization: Any = "s4d"
    discretizer: Any = None
    normaliser: Any = None
    scan: Any = "auto"
    nonlinearity: Any = "gelu"
    norm: str = "none"
    pooling: str = "mean"
    mix: bool = True
    residual: str = "add"
    dropout: float = option(0.0, PROPER_FRACTION)
    gamma: float | None = None
    bidirectional: bool = False
    initial_state: str = "zero"


@dataclass
class OptimizerConfig:
    """What every optimizer has: SSM parameters have a learning rate of their own and no weight
    decay; both rates rise over ``warmup_fraction`` of the steps, then fall to ``final_fraction``.

    An optimizer with options of its own derives its config from this one.
    """

    lr: float = option(4e-3, NOT_NEGATIVE)
    ssm_lr: float = option(1e-3, NOT_NEGATIVE)
    weight_decay: float = option(0.01, NOT_NEGATIVE)
    warmup_fraction: float = option(0.1, FRACTION)
    final_fraction: float = option(0.01, FRACTION)


@dataclass
class AnalysisConfig:
    """Gains: how often layers are measured in training, and the adversary's budget at the end.

    ``robustness``: also the score under disturbances, of up to ``robustness_sequences`` test
    sequences, for which the adversary has ``robustness_steps`` at each energy.
    """

    every_n_epochs: int = option(5, COUNT)
    attack_steps: int = option(40, POSITIVE_COUNT)
    attack_restarts: int = option(8, POSITIVE_COUNT)
    attack_seed: int = option(0, SEED)
    robustness: bool = True
    robustness_steps: int = option(5, POSITIVE_COUNT)
    robustness_sequences: int = option(256, POSITIVE_COUNT)


@dataclass
class RunConfig:
    """One run. ``variant`` is a label for reports; ``trainer`` goes to Lightning's Trainer."""

    variant: str = ""
    task: Any = "digits"
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: Any = "adamw"
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 20, "devices": 1})
    batch_size: int = option(64, POSITIVE_COUNT)
    #: Ranks that share each sequence, a segment each; divides trainer.devices x num_nodes.
    sequence_parallel: int = option(1, POSITIVE_COUNT)
    seed: int = option(0, SEED)
    #: Digest of the data that the task reads; found by :func:`resolve`, "" where they are missing.
    data_digest: str = ""


#: Where the components stand in a run config, and the registry that knows them.
COMPONENTS = {
    "task": registry.tasks,
    "model.parametrization": registry.parametrizations,
    "model.discretizer": registry.discretizers,
    "model.normaliser": registry.normalisers,
    "model.scan": registry.scans,
    "model.nonlinearity": registry.nonlinearities,
    "optimizer": registry.optimizers,
}

#: The name that a mapping without one has: ``optimizer: {lr: 0.01}`` means AdamW.
_IMPLIED_NAMES = {"optimizer": "adamw"}

#: Those that a model can do without.
_OPTIONAL = ("model.discretizer", "model.normaliser")

#: What a config that does not fit its class makes OmegaConf raise.
_NOT_TYPED = (OmegaConfBaseException, TypeError, ValueError, OverflowError, RecursionError)

#: Labels and places: what does not change a run's result is not part of its name. The data in a
#: place are, by their digest. A run that ``max_time`` ended has no result and goes on under more.
NOT_FINGERPRINTED = ("variant", "task.data_dir", "trainer.max_time")


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``key=value`` arguments as a nested dict; values are YAML.

    Raises:
        UsageError: an argument without ``=``, or a value that is not YAML.
    """
    merged: dict[str, Any] = {}
    for argument in overrides:
        merged = merge(merged, read_override(argument))
    return merged


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` on top, key by key.

    A component of another name replaces the old one whole: its options mean something else.
    """
    merged = dict(base)
    for key, new in over.items():
        old = merged.get(key)
        if isinstance(new, str) and isinstance(old, dict) and "name" in old:
            new = {"name": new}
        if isinstance(old, str) and isinstance(new, dict) and "name" not in new:
            old = {"name": old}
        keep = isinstance(old, dict) and isinstance(new, dict)
        if keep and "name" in new and new["name"] != old.get("name", _IMPLIED_NAMES.get(key)):
            keep = False
        merged[key] = merge(old, new) if keep else new
    return merged


def resolve(config: Mapping[str, Any], source: str = "config") -> dict[str, Any]:
    """The complete, validated run config as a plain dict.

    Raises:
        UsageError: an unknown key or name (with the nearest ones), a wrong type, a NaN.
    """
    merged = merge(_defaults(), config)
    _check_given(merged, source)
    plain = _validated_run(merged, source)
    for path, kind in COMPONENTS.items():
        parent, _, key = path.rpartition(".")
        holder = plain[parent] if parent else plain
        if holder[key] is not None:
            holder[key] = resolve_component(kind, holder[key], f"{source}: {path}")
        else:
            require(path in _OPTIONAL, f"{source}: {path}: needs a {kind.kind}")
    _check_values(plain, source)
    plain["data_digest"] = _data_digest(plain, source)
    return plain


def check_part(part: Any, source: str) -> None:
    """Raise a UsageError unless ``part`` is a run config in part: its keys and sections.

    What a later layer replaces would otherwise never be looked at.
    """
    require(isinstance(part, Mapping), f"{source}: must be a part of a run config, got {part!r}")
    _validated_run(merge(_defaults(), part), source, partial=True)


def _data_digest(config: Mapping[str, Any], source: str) -> str:
    """That of the data as they are now. What is missing is refused where it is read, a plugin
    that fails where it is used."""
    given = config["data_digest"]
    try:
        found = build(registry.tasks, config["task"], batch_size=1, seed=0).data_digest
    except Exception:
        return given
    require(
        given in ("", found),
        f"{source}: data_digest: is {given}, but the task's data have {found}: they are other data;"
        " leave data_digest out to use them",
    )
    return found


def resolve_component(kind: registry.Registry, component: Any, where: str) -> dict[str, Any]:
    """``{name, every option}`` of a component given as a name or a mapping.

    Raises:
        UsageError: not a component, an unknown name or option, a wrong type.
    """
    if isinstance(component, str):
        component = {"name": component}
    valid = isinstance(component, Mapping) and isinstance(component.get("name"), str)
    article = "an" if kind.kind[0] in "aeiou" else "a"
    require(
        valid, f"{where}: must be {article} {kind.kind}'s name, or a mapping with the key 'name'"
    )
    options = {key: value for key, value in component.items() if key != "name"}
    entry = kind.get(component["name"])
    return {"name": entry.name, **_validated(entry.config, options, f"{where} ({entry.name})")}


def build(kind: registry.Registry, component: Mapping[str, Any], **context: Any) -> Any:
    """The object that a resolved component describes."""
    entry = kind.get(component["name"])
    return entry.build(options_of(kind, component), **context)


def options_of(kind: registry.Registry, component: Mapping[str, Any]) -> Any:
    """The options of a resolved component, as an instance of its entry's config class."""
    options = {key: value for key, value in component.items() if key != "name"}
    schema = OmegaConf.structured(kind.get(component["name"]).config)
    return OmegaConf.to_object(OmegaConf.merge(schema, options))


def typed(config: Mapping[str, Any]) -> RunConfig:
    """A resolved config as a :class:`RunConfig`; its components stay dicts."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), config))


def load_run(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of a run file with ``key=value`` overrides.

    Raises:
        UsageError: see :func:`read_yaml`, :func:`parse_overrides` and :func:`resolve`.
    """
    return resolve(merge(read_yaml(path), parse_overrides(overrides)), str(path))


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """12 hex digits that name a resolved config."""
    named = {path: value for path, value in leaves(resolved) if not _is_unnamed(path)}
    text = jsonio.dumps({"schema": SCHEMA_VERSION, **named}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_unnamed(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in NOT_FINGERPRINTED)


def _defaults() -> dict[str, Any]:
    return _validated(RunConfig, {}, "config")


def _validated_run(config: Mapping[str, Any], source: str, partial: bool = False) -> dict[str, Any]:
    """A run config with every key typed except the components, which stay as given.

    Without references between them, its keys are looked at one by one: most are the same in every
    run of a suite, and what was seen before is not looked at again.
    """
    if "${" in repr(config):
        return _validated(RunConfig, config, source, partial)
    kinds = {f.name: type(f.default) for f in fields(RunConfig)}
    plain = {}
    for key, value in config.items():
        settled = type(value) in (int, str) and type(value) is kinds.get(key) and value != MISSING
        plain[key] = value if settled else _validated(RunConfig, {key: value}, source, partial)[key]
    return plain


#: What :func:`_validated` found before, by schema and content.
_seen: dict[tuple[type, str, bool], dict[str, Any]] = {}
_MAX_SEEN = 10_000


def _validated(
    schema: type, config: Mapping[str, Any], source: str, partial: bool = False
) -> dict[str, Any]:
    content = repr(config)
    if hasattr(schema, "settle") or "${" in content:  # these depend on more than the config
        return _typed_anew(schema, config, source, partial)
    key = (schema, content, partial)
    if key not in _seen:
        if len(_seen) >= _MAX_SEEN:
            _seen.clear()
        _seen[key] = _typed_anew(schema, config, source, partial)
    return _copied(_seen[key])


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _typed_anew(
    schema: type, config: Mapping[str, Any], source: str, partial: bool
) -> dict[str, Any]:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(config))
        if hasattr(schema, "settle"):  # what depends on the machine becomes part of the name
            settled = OmegaConf.to_object(merged)
            settled.settle()
            merged = OmegaConf.structured(settled)
        plain = OmegaConf.to_container(
            merged, enum_to_str=True, resolve=True, throw_on_missing=not partial
        )
    except _NOT_TYPED as error:
        key = getattr(error, "full_key", None)
        where = f"{source}: {key}" if key else source
        raise UsageError(f"{where}: {_naming_choices(first_line(error), schema, key)}") from None
    for name, allowed in declared(schema).items():
        if FOLDER in allowed and plain[name] is not None:
            plain[name] = str(absolute(plain[name], f"{source}: {name}"))
    return plain


def _naming_choices(message: str, schema: type, key: str | None) -> str:
    """OmegaConf names an option's choices only where it got a string or a whole number."""
    default = getattr(schema, key or "", None)
    if not isinstance(default, Enum) or "expected one of" in message:
        return message
    return f"{message}; expected one of [{', '.join(m.name for m in type(default))}]"


def _check_given(config: Mapping[str, Any], source: str) -> None:
    """OmegaConf would put a default in the place of a value that is still to be given."""
    for path, value in leaves(config):
        missing = value == MISSING or (isinstance(value, list) and MISSING in value)
        require(not missing, f"{source}: {path}: is {MISSING!r}, which means that it must be given")


def _check_values(config: Mapping[str, Any], source: str) -> None:
    """Every number is finite, and what its option says that it may be."""
    allowed = _allowed(config)
    for path, value in leaves(config):
        for number in _numbers(value):
            if isinstance(number, float) and not math.isfinite(number):
                word = "NaN" if math.isnan(number) else "infinite"
                raise UsageError(f"{source}: {path}: is {word}; give a number")
        for limit in allowed.get(path, ()) if value is not None else ():
            fits = limit.test(value)
            require(fits, f"{source}: {path}: must be {limit.words}, got {value}")


def _allowed(config: Mapping[str, Any]) -> dict[str, tuple[Allowed, ...]]:
    """What each option may be, by dotted path, where its config class says so."""
    schemas: dict[str, type] = {
        "": RunConfig,
        "model.": ModelConfig,
        "analysis.": AnalysisConfig,
    }
    for path, kind in COMPONENTS.items():
        parent, _, key = path.rpartition(".")
        component = (config[parent] if parent else config)[key]
        if component is not None:
            schemas[f"{path}."] = kind.get(component["name"]).config
    return {
        prefix + name: allowed
        for prefix, schema in schemas.items()
        for name, allowed in declared(schema).items()
    }


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a value, in those of lists too."""
    if isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, Mapping):
        for _, inner in leaves(value):
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, with its dotted path."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
