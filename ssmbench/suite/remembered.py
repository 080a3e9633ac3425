"""Resolved and checked suites, kept on disk: the next plan of the same suite loads no torch.

What is kept is found by a key of everything that it was made from: the suite's content, overrides
and selections, the code of ssmbench and of plugins, installed packages, the machine, and variables
of the environment. The files and folders of data that were looked at are kept with it, with their
sizes and times. Runs are always resolved anew.
"""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import site
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import SsmbenchError
from ssmbench.files import write_atomically
from ssmbench.registry import plugin_files
from ssmbench.tasks.cache import cache_folder

_PACKAGE = Path(__file__).resolve().parents[1]
#: Variables of the environment on which a config, or whether it is accepted, may depend.
_VARIABLES = ("SSMBENCH_", "CUDA_", "TRITON_", "PL_", "SLURM_NTASKS", "XDG_", "HOME")
#: Of a folder of data, the folders this deep are looked at, and no more than so many.
_DEEP, _MOST_FOLDERS = 2, 300
_SHAPE = {"checked": dict, "witnesses": [[(str, int)]]}


def key_of(content: Mapping[str, Any], *more: Any) -> str:
    """The name under which a suite with this content is kept; ``more``: what else is asked."""
    variables = {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)}
    machine = (platform.node(), sys.version, len(os.sched_getaffinity(0)), os.getcwd())
    packages = [*site.getsitepackages(), site.getusersitepackages()]
    facts = (
        *(content, more, sorted(variables.items()), machine, glob.glob("/dev/nvidia[0-9]*")),
        sorted(_stat(path) for path in packages),
        sorted(_code(_PACKAGE)),
        sorted({_stat(beside) for file in plugin_files() for beside in file.parent.glob("*.py")}),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def recall(key: str) -> Mapping[str, Any] | None:
    """What :func:`remember` was given; None if there is nothing, or data have changed since."""
    try:
        kept = jsonio.read(_file(key))
    except SsmbenchError:
        return None
    if not jsonio.has_shape(kept, _SHAPE):
        return None
    same = all(list(_stat(str(one[0]))) == one for one in kept["witnesses"])
    return kept["checked"] if same else None


def remember(key: str, checked: Mapping[str, Any], data: Iterable[Path]) -> None:
    """Keep a checked suite, if the cache can be written; ``data``: files and folders of data that
    it depends on."""
    witnesses = dict.fromkeys(str(path) for one in data for path in _looked_at(one))
    content = {"checked": checked, "witnesses": [_stat(path) for path in witnesses]}
    with suppress(OSError, SsmbenchError):
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, jsonio.dumps(content))


def _file(key: str) -> Path:
    return cache_folder() / "plans" / f"{key}.json"


def _stat(path: str | Path) -> tuple[str, int, int]:
    """Path, size and time of a file or folder; -1 where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return str(path), -1, -1
    return str(path), found.st_size, found.st_mtime_ns


def _code(folder: Path) -> Iterator[tuple[str, int, int]]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (_stat(f"{place}/{name}") for name in files if name.endswith((".py", ".so")))


def _looked_at(path: Path) -> Iterator[Path]:
    """A file, or a folder and those in it, whose times tell of files that come and go."""
    yield path
    if path.is_dir():
        levels = [path.glob("/".join("*" * depth)) for depth in range(1, _DEEP + 1)]
        folders = (inner for level in levels for inner in level if inner.is_dir())
        yield from (folder for folder, _ in zip(folders, range(_MOST_FOLDERS), strict=False))
