"""A digest of the source code that an entry is from: it tells an edited plugin from the old one."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

#: Files of a package that determine what it does.
SUFFIXES = frozenset({".py", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so"})


def source_digest(file: str, module: str, factory: Any = None) -> str:
    """16 hex digits of the SHA-256 of the source code in which an entry is registered.

    Covered: the plugin file; where it is part of a package, every source file (:data:`SUFFIXES`) of
    the innermost package and its sub-packages. Of a notebook cell, the cell's text; where that is
    not known, the bytecode, constants and plain class attributes of ``factory``, which another
    version of Python compiles otherwise.

    Not covered: what the plugin imports from elsewhere, other cells of a notebook, and files that
    it reads.
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
    """That of the innermost package that a module is in."""
    package = sys.modules.get(getattr(sys.modules.get(module), "__package__", None) or "")
    file = getattr(package, "__file__", None)
    return Path(file).parent if file and hasattr(package, "__path__") else None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone, or not to be read
        return b""


def _compiled(factory: Any) -> Iterator[bytes]:
    """The code and the plain values of a function, or of a class and its methods, by name."""
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
        elif isinstance(constant, frozenset):  # its order differs from process to process
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))  # where one ends and the next begins
        found.update(part)
    return found.hexdigest()[:16]
