"""Configs that come with the package: their names stand wherever a path to a config can.

In a checkout they are the files of ``configs/``; a wheel carries a copy in ``ssmbench/configs``,
which ``setup.py`` puts there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ssmbench.errors import UsageError, require, suggest
from ssmbench.paths import absolute

#: A run config trains one model, a suite config a grid of them.
Kind = Literal["runs", "suites"]

_PACKAGE = Path(__file__).resolve().parent
_SUFFIX = ".yaml"


def folder() -> Path:
    """Where the bundled configs are: in an installed package, else in the checkout around it."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def bundled_configs(kind: Kind) -> Mapping[str, Path]:
    """The bundled configs of one kind: their names, sorted, and their files."""
    return {file.stem: file for file in sorted((folder() / kind).glob(f"*{_SUFFIX}"))}


def config_file(given: str | Path, kind: Kind) -> Path:
    """The file that ``given`` means: an existing path, else a bundled config's name.

    The name may be written with or without ``.yaml``.

    Raises:
        UsageError: neither exists; says the nearest names.
    """
    path = absolute(given)
    if path.exists():
        require(path.is_file(), f"{path}: is a folder, not a config file")
        return path
    known = bundled_configs(kind)
    name = str(given).removesuffix(_SUFFIX)
    if name in known:
        return known[name]
    hint = suggest(Path(name).name, known)
    raise UsageError(f"{given}: no such file, and no bundled config of that name; {hint}")
