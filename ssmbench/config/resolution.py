"""From a run config as it is given to the complete, validated one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from ssmbench import registry
from ssmbench.config.components import build, resolve_component
from ssmbench.config.layers import merge, parse_overrides
from ssmbench.config.places import COMPONENTS, OPTIONAL
from ssmbench.config.schema import ModelConfig, RunConfig
from ssmbench.config.sources import sources_of
from ssmbench.config.validation import validated
from ssmbench.config.values import check_given, check_values
from ssmbench.errors import require
from ssmbench.yamlio import read_yaml


def resolve(config: Mapping[str, Any], source: str = "config") -> dict[str, Any]:
    """The complete, validated run config as a plain dict.

    ``sources`` are those of the plugins as they are now, whatever is given: see
    :func:`ssmbench.config.changed_sources` for how they differ from a stored config's.

    Raises:
        UsageError: an unknown key or name (with the nearest ones), a wrong type, a NaN.
    """
    plain = _resolved(merge(_defaults(), config), source)
    plain["data_digest"] = _data_digest(plain, source)
    plain["sources"] = sources_of(plain)
    return plain


def resolve_model(model: Mapping[str, Any], source: str = "model") -> ModelConfig:
    """The network's part of a run config, complete and typed; its components stay dicts.

    Raises:
        UsageError: as :func:`resolve`.
    """
    part = merge({"model": _defaults()["model"]}, {"model": model})
    return typed(_resolved(part, source)).model


def _resolved(merged: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A run config, or sections of it, with every option of its components."""
    check_given(merged, source)
    plain = _validated_run(merged, source)
    for path, kind in COMPONENTS.items():
        parent, _, key = path.rpartition(".")
        holder = plain.get(parent, {}) if parent else plain
        if holder.get(key) is not None:
            holder[key] = resolve_component(kind, holder[key], f"{source}: {path}")
        else:
            needed = key in holder and path not in OPTIONAL
            require(not needed, f"{source}: {path}: needs a {kind.kind}")
    check_values(plain, source)
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


def typed(config: Mapping[str, Any]) -> RunConfig:
    """A resolved config as a :class:`RunConfig`; its components stay dicts."""
    made: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), config))
    return made


def load_run(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of a run file with ``key=value`` overrides.

    Raises:
        UsageError: see :func:`read_yaml`, :func:`parse_overrides` and :func:`resolve`.
    """
    return resolve(merge(read_yaml(path), parse_overrides(overrides)), str(path))


def _defaults() -> dict[str, Any]:
    return validated(RunConfig, {}, "config")


def _validated_run(config: Mapping[str, Any], source: str, partial: bool = False) -> dict[str, Any]:
    """A run config with every key typed except the components, which stay as given.

    Without references between them, its keys are looked at one by one: most are the same in every
    run of a suite, and what was seen before is not looked at again.
    """
    if "${" in repr(config):
        return validated(RunConfig, config, source, partial)
    kinds = {f.name: type(f.default) for f in fields(RunConfig)}
    plain = {}
    for key, value in config.items():
        fits = type(value) in (int, str) and type(value) is kinds.get(key) and value != MISSING
        plain[key] = value if fits else validated(RunConfig, {key: value}, source, partial)[key]
    return plain
