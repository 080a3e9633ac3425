"""The package ``nonlinear_benchmarks``: its loaders, and the folder in which it keeps their files.

The package of nonlinearbenchmark.org (G. Beintema; version 1.0 is what this was written for).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError, one_line, suggest

PACKAGE = "nonlinear_benchmarks"
#: The function of the package that downloads a file unless it is there.
_DOWNLOADER = "cashed_download"
_INSTALL = f"needs the package {PACKAGE}: pip install 'ssmbench[sysid]'"


def package_data_folder() -> Path | None:
    """Where the package keeps what its loaders have downloaded; None where it is not installed, or
    has downloaded nothing."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    folder = _data_folder()
    return folder if folder.is_dir() else None


def _data_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / PACKAGE
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / PACKAGE
    return Path.home() / f".{PACKAGE}"


def loader(name: str) -> Callable[..., Any]:
    """The package's loader of a benchmark.

    Raises:
        UsageError: the package is not installed, or has no such loader.
    """
    try:
        import nonlinear_benchmarks as package  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError(f"{PACKAGE}: {_INSTALL}") from None
    found = {one.__name__: one for one in (*package.all_benchmarks, package.F16)}
    if name not in found:
        raise UsageError(f"{PACKAGE}: no benchmark {name!r}; {suggest(name, found)}")
    return found[name]


def read(name: str, folders: Sequence[Path], **options: Any) -> Any:
    """What the package's loader gives, of files that are in one of ``folders``: it downloads
    nothing.

    Raises:
        UsageError: what :func:`loader` raises, the files are not there, or cannot be read.
    """
    load = loader(name)
    try:
        with _without_downloads(load, name, folders), redirect_stdout(sys.stderr):
            return load(**options)
    except UsageError:
        raise
    except Exception as error:  # of many types: scipy's, zlib's, KeyError of a variable
        raise UsageError(f"{PACKAGE}: {name}: cannot be read ({one_line(error)})") from None


@contextmanager
def _without_downloads(
    load: Callable[..., Any], name: str, folders: Sequence[Path]
) -> Iterator[None]:
    """The loader takes its files from a folder of its own name for them in one of ``folders``."""

    def find(url: Any, name_dir: str, *_: Any, **__: Any) -> str:
        for folder in folders:
            if (folder / name_dir).is_dir():
                return str(folder / name_dir)
        raise UsageError(
            f"{PACKAGE}: no folder {name_dir}/ with the files of {name} in the data folder or in "
            f"{_data_folder()}; download them with the package: {PACKAGE}.{name}()"
        )

    where = vars(sys.modules[load.__module__])
    if _DOWNLOADER not in where:
        raise UsageError(f"{PACKAGE}: this version is not supported; install version 1.0")
    original, where[_DOWNLOADER] = where[_DOWNLOADER], find
    try:
        yield
    finally:
        where[_DOWNLOADER] = original


def download(name: str, folder: Path) -> list[Path]:
    """Let the package download a benchmark's files into ``folder``; returns their paths.

    Raises:
        UsageError: what :func:`loader` raises, or the download failed.
    """
    load = loader(name)
    print(
        f"warning: {PACKAGE} checks neither certificates nor checksums of what it downloads",
        file=sys.stderr,
        flush=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with redirect_stdout(sys.stderr):
            return paths(load(data_file_locations=True, dir_placement=str(folder)))
    except Exception as error:  # of many types: urllib's, requests', zipfile's
        raise UsageError(f"{PACKAGE}: {name}: cannot be downloaded ({one_line(error)})") from None


def paths(found: Any) -> list[Path]:
    """One path or several, as loaders give them, in alphabetical order."""
    several = [found] if isinstance(found, str) else found
    return sorted(Path(one) for one in several)
