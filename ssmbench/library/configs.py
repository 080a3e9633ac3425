"""Read run configs given as a path, a bundled name or a mapping, with overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench.bundled import config_file
from ssmbench.config import merge, nested, parse_overrides, read_yaml, resolve
from ssmbench.errors import require
from ssmbench.suite.grid import load_cell
from ssmbench.yamlio import check_plain

#: A path to a YAML file, the name of a bundled config, SUITE:TASK/VARIANT for a run of a suite, or
#: the content of a config.
Config = str | Path | Mapping[str, Any]
#: Values by dotted keys or as a nested mapping, or a list of "key=value".
Overrides = Mapping[str, Any] | Sequence[str] | None


@dataclass(frozen=True)
class ResolvedRun:
    """A resolved run config, and the label under which progress is shown."""

    config: dict[str, Any]
    label: str


def read_run(config: Config, overrides: Overrides = None) -> ResolvedRun:
    """The resolved config of a run.

    Raises:
        UsageError: there is no such file or bundled config, or it or the overrides are invalid.
    """
    over = read_overrides(overrides)
    if isinstance(config, Mapping):
        resolved = resolve(merge(plain(config, "config"), over), "config")
        label = resolved["variant"] or resolved["model"]["parametrization"]["name"]
        return ResolvedRun(resolved, label)
    require(
        isinstance(config, str | Path),
        f"config: must be a path, a bundled config's name or a mapping, got {config!r}",
    )
    suite, colon, label = str(config).rpartition(":")
    if colon and not Path(config).exists():
        cell = load_cell(config_file(suite, "suites"), label, over)
        return ResolvedRun(cell.config, cell.label)
    file = config_file(config, "runs")
    return ResolvedRun(resolve(merge(read_yaml(file), over), str(file)), file.stem)


def read_overrides(overrides: Overrides) -> dict[str, Any]:
    """Overrides as a nested dict.

    Raises:
        UsageError: they are neither a mapping nor "key=value" strings, or YAML cannot represent a
            value.
    """
    if overrides is None:
        return {}
    if isinstance(overrides, Mapping):
        return nested(plain(overrides, "overrides"))
    listed = [overrides] if isinstance(overrides, str) else overrides
    strings = isinstance(listed, Sequence) and all(isinstance(item, str) for item in listed)
    require(strings, f"overrides: must be a mapping or a list of 'key=value', got {overrides!r}")
    return parse_overrides(listed)


def plain(value: Any, where: str) -> Any:
    """Convert a config given from Python to values that YAML can represent: tuples become lists,
    NumPy and torch scalars become Python numbers, and paths become strings.

    Raises:
        UsageError: a value has another type.
    """
    converted = _converted(value)
    check_plain(converted, where)
    return converted


def _converted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _converted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_converted(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value
