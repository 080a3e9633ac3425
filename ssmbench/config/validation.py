"""Validation of a mapping against a config dataclass: keys, types and choices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssmbench.errors import UsageError, require
from ssmbench.options import FOLDER, declared
from ssmbench.paths import absolute
from ssmbench.yamlio import first_line

#: What OmegaConf raises for a config that does not match its dataclass.
_NOT_TYPED = (OmegaConfBaseException, TypeError, ValueError, OverflowError, RecursionError)

#: Earlier results of :func:`validated`, by schema and content.
_seen: dict[tuple[type, str, bool], dict[str, Any]] = {}
_MAX_SEEN = 10_000


def validated(
    schema: type, config: Mapping[str, Any], source: str, partial: bool = False
) -> dict[str, Any]:
    """``config`` with all options of the dataclass ``schema`` and converted values.

    Args:
        schema: the config dataclass; its ``moved``, if it has one, says for former options how they
            are written now.
        config: some of its options.
        source: begins the error messages.
        partial: whether options without a value are allowed.

    Raises:
        UsageError: an option is unknown, or its value has a wrong type or is not a choice.
    """
    content = repr(config)
    if (
        hasattr(schema, "resolve_auto") or "${" in content
    ):  # the result depends on more than the config
        return _typed_anew(schema, config, source, partial)
    key = (schema, content, partial)
    if key not in _seen:
        if len(_seen) >= _MAX_SEEN:
            _seen.clear()
        _seen[key] = _typed_anew(schema, config, source, partial)
    return copied(_seen[key])


def copied(value: Any) -> Any:
    """A copy of nested dicts and lists; other values are immutable in a config."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def is_plain(value: Any) -> bool:
    """Whether OmegaConf would leave a value without a declared type as it is."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(inner) for key, inner in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def _typed_anew(
    schema: type, config: Mapping[str, Any], source: str, partial: bool
) -> dict[str, Any]:
    for name, place in getattr(schema, "moved", {}).items():
        require(name not in config, f"{source}: {name}: is now written as {place}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(config))
        if hasattr(
            schema, "resolve_auto"
        ):  # choices that depend on the machine are part of the identity
            decided: Any = OmegaConf.to_object(merged)
            decided.resolve_auto()
            merged = OmegaConf.structured(decided)
        plain: Any = OmegaConf.to_container(
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
    """Add the choices of an option, which OmegaConf gives only for strings and integers."""
    default = getattr(schema, key or "", None)
    if not isinstance(default, Enum) or "expected one of" in message:
        return message
    return f"{message}; expected one of [{', '.join(m.name for m in type(default))}]"
