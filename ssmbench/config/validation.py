"""A mapping held to its config dataclass: known keys, types and choices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssmbench.errors import UsageError
from ssmbench.options import FOLDER, declared
from ssmbench.paths import absolute
from ssmbench.yamlio import first_line

#: What a config that does not fit its class makes OmegaConf raise.
_NOT_TYPED = (OmegaConfBaseException, TypeError, ValueError, OverflowError, RecursionError)

#: What :func:`validated` found before, by schema and content.
_seen: dict[tuple[type, str, bool], dict[str, Any]] = {}
_MAX_SEEN = 10_000


def validated(
    schema: type, config: Mapping[str, Any], source: str, partial: bool = False
) -> dict[str, Any]:
    content = repr(config)
    if hasattr(schema, "resolve_auto") or "${" in content:  # these depend on more than the config
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
        if hasattr(schema, "resolve_auto"):  # what depends on the machine becomes part of the name
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
    """OmegaConf names an option's choices only where it got a string or a whole number."""
    default = getattr(schema, key or "", None)
    if not isinstance(default, Enum) or "expected one of" in message:
        return message
    return f"{message}; expected one of [{', '.join(m.name for m in type(default))}]"
