"""Configs that come with the package; their names are accepted in place of a config's path.

In a checkout they are the files in ``configs/``; a wheel contains a copy in ``ssmbench/configs``,
which ``setup.py`` creates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ssmbench.errors import UsageError, require, suggest
from ssmbench.paths import absolute

#: A run config trains one model; a suite config trains a grid of models; a launcher config says
#: how runs are executed.
Kind = Literal["runs", "suites", "launchers"]
#: The folders of each kind; the published models are suites, of a family of models each.
_FOLDERS: Mapping[Kind, tuple[str, ...]] = {
    "runs": ("runs",),
    "suites": ("suites", "published"),
    "launchers": ("launchers",),
}

_PACKAGE = Path(__file__).resolve().parent
_SUFFIX = ".yaml"


def folder() -> Path:
    """The folder of the bundled configs: in the installed package, or else in the checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def bundled_configs(kind: Kind) -> Mapping[str, Path]:
    """The files of the bundled configs of one kind, by name, sorted."""
    found = (file for name in _FOLDERS[kind] for file in (folder() / name).glob(f"*{_SUFFIX}"))
    return {file.stem: file for file in sorted(found, key=lambda file: file.stem)}


def config_file(given: str | Path, kind: Kind) -> Path:
    """The config file that ``given`` refers to: an existing path, or else a bundled config's name.

    The name may be written with or without ``.yaml``.

    Raises:
        UsageError: neither exists; the message suggests the nearest names.
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
