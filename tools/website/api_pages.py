"""The pages of the API: which objects they show. Their text is in the docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from sources import ROOT

import ssmbench
from ssmbench import registry  # light: neither torch nor numpy

_LIBRARY = """
Everything in `import ssmbench as sb`. [The Python library](../library.md) is the short description;
a config, overrides and a system are what it says there.
"""
_KINDS = """
The class that an entry of each kind derives from, and what it has to define.
[Writing a plugin](../writing_a_plugin.md) has a complete example of each.
"""
_SYSTEMS = """
Linear systems are the values that parametrizations, discretizers, scans and the analysis pass to
each other ([architecture](../architecture.md#one-shared-value)).
"""
_RESULTS = """
`run.result` and the file `result.json` of a run have the same names and values.
"""
_TESTING = """
The conformance checks, for tests of plugins: `conform(entry)` runs those of the entry's kind.
"""


def pages() -> Iterator[tuple[str, str]]:
    """The uri and the Markdown of each page."""
    library = [f"ssmbench.{home}.{name}" for name, home in ssmbench._HOMES.items()]
    yield "api/library.md", page("API: the library", _LIBRARY, library)
    yield "api/kinds.md", page("API: base classes of the kinds", _KINDS, bases())
    for name, text in (("systems", _SYSTEMS), ("results", _RESULTS), ("testing", _TESTING)):
        yield f"api/{name}.md", page(f"API: {name}", text, public(f"ssmbench.{name}"))


def page(title: str, introduction: str, objects: list[str]) -> str:
    """A page with the docstrings of objects, given by their full names."""
    blocks = [f"::: {name}\n    options: {{ heading_level: 2 }}" for name in objects]
    return "\n\n".join([f"# {title}", introduction.strip(), *blocks]) + "\n"


def bases() -> list[str]:
    """The base classes that are ours, in the order of the kinds."""
    named = [kind.base.replace(":", ".") for kind in registry.KINDS.values()]
    return list(dict.fromkeys(name for name in named if name.startswith("ssmbench.")))


def public(package: str) -> list[str]:
    """The functions and classes in ``__all__`` of a package, by the full names of their homes."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text())
    homes = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    exported = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return [f"{homes.get(name, package)}.{name}" for name in exported if not name.isupper()]
