"""HTML that is safe by construction: text is escaped unless it is :class:`Markup` already."""

from __future__ import annotations

import html
from collections.abc import Iterable

from ssmbench import jsonio

_VOID = frozenset({"br", "col", "hr", "img", "input", "meta", "path", "use", "line", "circle"})
_SVG_VOID = frozenset({"path", "use", "line", "circle"})  # these are closed, as XML has it


class Markup(str):
    """A piece of HTML."""


#: What may stand in an element: markup, text, a number; None stands for nothing.
Part = Markup | str | int | float | None


def element(name: str, *parts: Part, **attributes: Part | bool) -> Markup:
    """The element ``name`` with ``parts`` as its content.

    Attributes: ``_`` at the end of a name is dropped and stands for ``-`` elsewhere; those that are
    None or False are left out, and True stands for one without a value.
    """
    start = f"<{name}{''.join(_attribute(*item) for item in attributes.items())}"
    if name in _VOID:
        return Markup(start + ("/>" if name in _SVG_VOID else ">"))
    return Markup(f"{start}>{joined(parts)}</{name}>")


def joined(parts: Iterable[Part]) -> Markup:
    """The parts one after another."""
    return Markup("".join(_escaped(part) for part in parts))


def json_block(data: object, **attributes: Part) -> Markup:
    """``data`` for scripts to read; no text in it can end the block or begin a comment."""
    text = jsonio.dumps(data)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Markup(text), type="application/json", **attributes)


def _escaped(part: Part) -> str:
    if part is None:
        return ""
    return part if isinstance(part, Markup) else html.escape(str(part))


def _attribute(name: str, value: Part | bool) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
