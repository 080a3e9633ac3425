"""Reading YAML files and ``key=value`` arguments; every error is a UsageError of one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssmbench.errors import UsageError, require

#: Maximum nesting depth of a config.
_DEEPEST = 50


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: there is no such file, it holds no mapping, or it has a syntax error (the
            message gives its line).
    """
    from omegaconf import OmegaConf  # here: reading a run's state does not need it

    path = Path(path)
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise UsageError(f"{path}{where}: not YAML: {problem}") from None
    except Exception as error:  # the constructors of YAML tags raise errors of many types
        raise UsageError(f"{path}: cannot be read: {first_line(error)}") from None
    if not (isinstance(content, dict) and content):
        raise UsageError(f"{path}: must hold a mapping of keys to values")
    check_plain(content, str(path))
    return content


def dump_yaml(config: Mapping[str, Any]) -> str:
    """YAML that :func:`read_yaml` reads back as the same values."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(dict(config))


def read_override(argument: str) -> dict[str, Any]:
    """A ``key=value`` argument as a nested dict; the value is YAML.

    Raises:
        UsageError: there is no ``=`` in it, or the value is not YAML.
    """
    key, equals, _ = argument.partition("=")
    where = f"override {argument!r}"
    require(bool(equals and key), f"{where}: must be key=value")
    require(key.count(".") < _DEEPEST, f"{where}: nested more than {_DEEPEST} deep")
    from omegaconf import OmegaConf

    try:
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([argument]))
    except Exception as error:  # of many types, as in read_yaml
        raise UsageError(f"{where}: {first_line(error)}") from None
    check_plain(parsed, where)
    return parsed


def check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Raise a UsageError unless ``value`` consists of mappings, lists, strings, booleans, None and
    numbers of up to 64 bits; YAML has other types too, such as dates."""
    require(depth <= _DEEPEST, f"{where}: nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            usable = isinstance(key, str | int | float)
            require(usable, f"{where}: the key {key!r} must be a word or a number")
            check_plain(inner, where, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_plain(inner, where, depth + 1)
    elif isinstance(value, int):
        require(-(2**63) <= value < 2**63, f"{where}: a whole number of more than 64 bits")
    elif value is not None and not isinstance(value, str | float):
        raise UsageError(f"{where}: {value!r} is not a string, number, list or mapping")


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0][:200]
