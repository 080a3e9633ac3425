"""Docstrings as Markdown, and what comments document.

Roles of Sphinx (``:class:`Name```) become code, doctests become code blocks, and the ``#:``
comments above an attribute become its docstring.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`~?([^`]+)`")
_DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
_COMMENT = "#:"


class MarkdownDocstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        text = comment_above(attr)
        if attr.docstring is None and text:
            attr.docstring = griffe.Docstring(_ROLE.sub(r"`\1`", text), parent=attr)

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = _DOCTEST.sub(r"\1```pycon\n\g<0>\n\1```", text)


def comment_above(attribute: griffe.Attribute) -> str:
    """The text of the ``#:`` comments that end in the line above an attribute, or nothing."""
    if attribute.lineno is None:
        return ""
    lines = attribute.lines_collection[attribute.filepath]
    kept: list[str] = []
    for line in reversed(lines[: attribute.lineno - 1]):
        if not line.strip().startswith(_COMMENT):
            break
        kept.insert(0, line.strip().removeprefix(_COMMENT).strip())
    return "\n".join(kept)
