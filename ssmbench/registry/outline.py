"""What the source of a package registers, read without importing it.

An import of all built-in entries takes seconds, most of it for PyTorch and Lightning; their names
and summaries stand in the source, as arguments of decorators and in docstrings.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Outline:
    """An entry as listings show it: ``summary`` is one line, ``origin`` the file:line of the
    registration."""

    kind: str
    name: str
    summary: str
    origin: str


def outlines(kind: str, plural: str, package: str) -> list[Outline] | None:
    """The entries that the modules of a package register with ``@<plural>.register("name", ...)``.

    None where that cannot be read from the source, so that the modules must be imported: there are
    no source files, or an entry is registered in another way, for example in a loop.

    Args:
        kind: the name of the kind, in the singular.
        plural: the name of the registry in :mod:`ssmbench.registry`.
        package: the dotted name of the package.
    """
    folder = _folder(package)
    if folder is None:
        return None
    found: list[Outline] = []
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if f"{plural}.register" in text:
            tree = ast.parse(text)
            here = [_outline(kind, call, made, file) for made, call in _decorated(tree, plural)]
            known = [outline for outline in here if outline is not None]
            if len(known) < _registrations(tree, plural):
                return None
            found += known
    return found


def _folder(package: str) -> Path | None:
    """The folder of a package, whose parents are not imported for it."""
    top, *rest = package.split(".")
    file = getattr(sys.modules.get(top), "__file__", None)
    folder = Path(file).parent.joinpath(*rest) if file else None
    return folder if folder is not None and (folder / "__init__.py").is_file() else None


def _is_registration(node: ast.AST, plural: str) -> bool:
    if not (isinstance(node, ast.Attribute) and node.attr == "register"):
        return False
    of = node.value
    return plural == (of.id if isinstance(of, ast.Name) else getattr(of, "attr", ""))


def _registrations(tree: ast.Module, plural: str) -> int:
    """How often the method is named, called or not."""
    return sum(_is_registration(node, plural) for node in ast.walk(tree))


def _decorated(tree: ast.Module, plural: str) -> Iterator[tuple[_Definition, ast.Call]]:
    """The definitions of a module that a registration decorates, outside of any condition."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and _is_registration(call.func, plural):
                    yield node, call


def _outline(kind: str, call: ast.Call, made: _Definition, file: Path) -> Outline | None:
    """None where the name or the summary is not written out."""
    name = _text(call.args[0]) if len(call.args) == 1 else None
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    doc = ast.get_docstring(made) or ""
    summary = _text(given["summary"]) if "summary" in given else ""
    if name is None or summary is None or None in given:
        return None
    return Outline(kind, name, summary or doc.partition("\n")[0], f"{file}:{call.lineno}")


def _text(node: ast.expr) -> str | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
