"""The content of a suite file together with the files that it builds on, and its name. Loads no
torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench.bundled import bundled_configs
from ssmbench.config.layers import merge
from ssmbench.errors import UsageError, require, suggest
from ssmbench.yamlio import read_yaml

DEFAULTS = "defaults"
OVERRIDES = "overrides"
KEYS = (
    *("name", DEFAULTS, "base", "tasks", "variants", "include", "exclude", OVERRIDES),
    *("seeds", "launcher", "search", "published"),
)
#: Not taken from the files that a suite builds on: two suites of one name would share a folder.
_OWN = ("name", DEFAULTS)
#: Maximum length of a file name in bytes.
_LONGEST_NAME = 255


def read_composed(path: str | Path) -> dict[str, Any]:
    """The content of a suite file over that of the files in its key ``defaults``.

    Later files override earlier ones, and the file's own keys override both: mappings are merged
    key by key, ``overrides`` are joined, and everything else is replaced.

    Raises:
        UsageError: a file cannot be read, has an unknown key, or builds on itself.
    """
    return _composed(Path(path), str(path), ())


def _composed(path: Path, shown: str, above: tuple[Path, ...]) -> dict[str, Any]:
    here = path.resolve()
    circle = " -> ".join(file.name for file in (*above, here))
    require(here not in above, f"{above[0] if above else here}: {DEFAULTS}: a circle: {circle}")
    own = read_yaml(shown)
    for key in own:
        require(key in KEYS, f"{shown}: unknown key {key!r}: {suggest(str(key), KEYS)}")
    content: dict[str, Any] = {}
    for file in _files(own.get(DEFAULTS, []), path, shown):
        content = _over(content, _composed(file, str(file), (*above, here)))
    own.pop(DEFAULTS, None)
    return _over({key: value for key, value in content.items() if key not in _OWN}, own)


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = merge(lower, upper)
    both = [part.get(OVERRIDES) or [] for part in (lower, upper)]
    if all(isinstance(part, list) for part in both) and any(both):
        merged[OVERRIDES] = [*both[0], *both[1]]
    return merged


def _files(given: Any, path: Path, shown: str) -> list[Path]:
    listed = isinstance(given, list) and all(isinstance(one, str) and one for one in given)
    require(listed, f"{shown}: {DEFAULTS}: must be a list of suite files or names, got {given!r}")
    return [_file(one, path, shown) for one in given]


def _file(given: str, path: Path, shown: str) -> Path:
    """The file that an entry of ``defaults`` names: relative to the suite file, or bundled."""
    beside = path.parent / Path(given).expanduser()
    if beside.is_file():
        return beside
    known = bundled_configs("suites")
    name = given.removesuffix(".yaml")
    names = [*known, *(file.name for file in path.parent.glob("*.yaml"))]
    problem = f"{given!r} is no file beside it, and no bundled suite"
    require(name in known, f"{shown}: {DEFAULTS}: {problem}; {suggest(given, names)}")
    return known[name]


def suite_name(raw: Mapping[str, Any], path: str | Path) -> str:
    """The name in the file, or else the file's. Raises a UsageError unless it can name a folder."""
    name = raw.get("name", Path(path).stem)
    require(isinstance(name, str | int | float), f"{path}: name: must be a word, got {name!r}")
    check_file_name(str(name), f"{path}: name")
    return str(name)


def check_file_name(name: str, where: str) -> None:
    """Raise a UsageError unless ``name`` is a valid name of a folder inside another one."""
    usable = bool(name) and "/" not in name and not name.startswith(".") and name.isprintable()
    require(
        usable,
        f"{where} {name!r}: must not contain '/' or unprintable characters, or start with '.'",
    )
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise UsageError(f"{where} {name!r}: not a name that this system can store") from None
    require(
        size <= _LONGEST_NAME,
        f"{where} {name[:20]!r}...: must have at most {_LONGEST_NAME} bytes, not {size}",
    )
