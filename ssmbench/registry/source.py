"""A digest of the source code of an entry, by which an edited plugin is recognised."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

#: Suffixes of the files of a package that count as its source code.
SUFFIXES = frozenset({".py", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so"})


def source_digest(file: str, module: str, factory: Any = None) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the source code that registers an entry.

    The digest covers

    * for a module of a package, all source files (:data:`SUFFIXES`) of the innermost package and
      its sub-packages;
    * for any other file, that file;
    * for a notebook cell, the text of the cell; if that is unknown, the bytecode, the constants and
      the simple class attributes of ``factory``, which depend on the version of Python.

    It does not cover other modules that the plugin imports, other cells of the notebook, or files
    that the plugin reads.
    """
    folder = _package_folder(module)
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
        parts = ((str(path.relative_to(folder)).encode(), _content(path)) for path in files)
        return _digest(part for pair in parts for part in pair)
    if Path(file).is_file():
        return _digest([_content(Path(file))])
    text = "".join(linecache.getlines(file))
    return _digest([text.encode()] if text else _compiled(factory))


def _package_folder(module: str) -> Path | None:
    """The folder of the innermost package that contains a module; None if there is none."""
    package = sys.modules.get(getattr(sys.modules.get(module), "__package__", None) or "")
    file = getattr(package, "__file__", None)
    return Path(file).parent if file and hasattr(package, "__path__") else None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # deleted, or not readable
        return b""


def _compiled(factory: Any) -> Iterator[bytes]:
    """The code of a function; of a class, its methods and simple attributes, sorted by name."""
    members = vars(factory).items() if isinstance(factory, type) else [("", factory)]
    for name, member in sorted(members):
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        code = getattr(function, "__code__", None)
        if code is not None:
            yield name.encode()
            yield from _of_code(code)
        elif isinstance(member, str | int | float | tuple) and not name.startswith("__"):
            yield f"{name}={member!r}".encode()


def _of_code(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        elif isinstance(constant, frozenset):  # its order differs between processes
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))  # marks the boundaries between the parts
        digest.update(part)
    return digest.hexdigest()[:16]
