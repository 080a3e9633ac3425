"""Resolving a run config: from the given part to the complete, validated config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from ssmbench import registry
from ssmbench.config.components import build, resolve_component, resolve_components
from ssmbench.config.layers import merge, parse_overrides
from ssmbench.config.places import COMPONENTS, LISTED, OPTIONAL
from ssmbench.config.schema import SECTIONS, ModelConfig, RunConfig
from ssmbench.config.sources import sources_of
from ssmbench.config.start import start_digest
from ssmbench.config.validation import copied, is_plain, validated
from ssmbench.config.values import check_given, check_values
from ssmbench.errors import require
from ssmbench.yamlio import read_yaml


def resolve(config: Mapping[str, Any], source: str = "config") -> dict[str, Any]:
    """The complete, validated run config as a dict.

    ``sources`` holds the digests of the plugins as they are now, whatever ``config`` contains;
    :func:`ssmbench.config.changed_sources` compares them with those of a stored config. ``source``
    begins the error messages, for example with a file name.

    Raises:
        UsageError: a key or a name is unknown (the message gives the nearest ones), or a value has
            a wrong type, is not allowed, or is NaN.
    """
    resolved = _resolved(merge(_defaults(), config), source)
    resolved["data_digest"] = _data_digest(resolved, source)
    resolved["start_digest"] = start_digest(resolved)
    resolved["sources"] = sources_of(resolved)
    return resolved


def resolve_model(model: Mapping[str, Any], source: str = "model") -> ModelConfig:
    """The section ``model`` of a run config, complete and typed; its components stay dicts.

    Raises:
        UsageError: as :func:`resolve`.
    """
    part = merge({"model": _defaults()["model"]}, {"model": model})
    return typed(_resolved(part, source)).model


def _resolved(merged: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Complete the components of a run config, or of some of its sections."""
    check_given(merged, source)
    resolved = _validated_run(merged, source)
    for path, kind in COMPONENTS.items():
        parent, _, key = path.rpartition(".")
        section = resolved.get(parent, {}) if parent else resolved
        if section.get(key) is not None:
            complete = resolve_components if path in LISTED else resolve_component
            section[key] = complete(kind, section[key], f"{source}: {path}")
        else:
            missing = key in section and path not in OPTIONAL
            require(not missing, f"{source}: {path}: needs a {kind.kind}")
    check_values(resolved, source)
    return resolved


def check_part(part: Any, source: str) -> None:
    """Raise a UsageError unless ``part`` is a mapping with keys of a run config.

    Merging may replace parts of a config, which would then never be checked.
    """
    require(isinstance(part, Mapping), f"{source}: must be a part of a run config, got {part!r}")
    _validated_run(merge(_defaults(), part), source, partial=True)


def _data_digest(config: Mapping[str, Any], source: str) -> str:
    """The digest of the data as they are now; the given one if it cannot be computed.

    Missing data and failing plugins raise an error later, when they are used.
    """
    given = config["data_digest"]
    try:
        found = build(registry.tasks, config["task"], batch_size=1, seed=0).data_digest
    except Exception:
        return given
    require(
        given in ("", found),
        f"{source}: data_digest: is {given}, but the data of the task now have {found}; leave "
        "data_digest out to use the present data",
    )
    return found


def typed(config: Mapping[str, Any]) -> RunConfig:
    """A resolved config as a :class:`RunConfig`; its components stay dicts."""
    values = copied(dict(config))
    sections = {key: schema(**values[key]) for key, schema in SECTIONS.items() if key in values}
    return RunConfig(**(values | sections))


def load_run(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of a YAML file with ``key=value`` overrides.

    Raises:
        UsageError: see :func:`read_yaml`, :func:`parse_overrides` and :func:`resolve`.
    """
    return resolve(merge(read_yaml(path), parse_overrides(overrides)), str(path))


def _defaults() -> dict[str, Any]:
    return validated(RunConfig, {}, "config")


def _validated_run(config: Mapping[str, Any], source: str, partial: bool = False) -> dict[str, Any]:
    """A run config with validated keys and types; its components stay as given.

    Unless the config contains references (``${...}``), each key is validated separately: most keys
    are equal in all runs of a suite, and :func:`validated` caches its results.
    """
    content = repr(config)
    if "${" in content or MISSING in content:
        return validated(RunConfig, config, source, partial)
    kinds = {f.name: type(f.default) for f in fields(RunConfig)}
    checked = {}
    for key, value in config.items():
        if type(value) in (int, str) and type(value) is kinds.get(key):
            checked[key] = value
        else:
            checked[key] = _validated_key(key, value, source, partial)
    return checked


def _validated_key(key: str, value: Any, source: str, partial: bool) -> Any:
    """One key of a run config, validated. Components have no declared type and differ most between
    runs, so they are left out of what is validated, and of what is remembered."""
    if key in COMPONENTS and is_plain(value):
        return copied(value)
    components = {}
    if isinstance(value, dict):
        components = {k: v for k, v in value.items() if f"{key}.{k}" in COMPONENTS and is_plain(v)}
        value = {k: v for k, v in value.items() if k not in components}
    rest = validated(RunConfig, {key: value}, source, partial)[key]
    return {**rest, **copied(components)} if components else rest
