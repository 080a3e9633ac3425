"""Formulas, written between dollars as on GitHub, as MathML, which browsers render themselves."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>'
    r"(?P<after>[,.;:)]*)",
    re.DOTALL,
)
#: What the converter takes for another thing: an environment; a relation; a mark of transposition.
_ALIGNED = re.compile(r"\{aligned\}")
_MENDED = {
    "<mi>&#x02AAF;</mi>": "<mo>&#x02AAF;</mo>",
    "<mi>&#x02AB0;</mi>": "<mo>&#x02AB0;</mo>",
    "<mo>&#x022A4;</mo>": '<mi mathvariant="normal">&#x022A4;</mi>',
}


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page."""
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    tex = _ALIGNED.sub("{align*}", html.unescape(found["tex"]).strip())
    mathml = convert(tex, display="block" if found["tag"] == "div" else "inline")
    for wrong, right in _MENDED.items():
        mathml = mathml.replace(wrong, right)
    after = found["after"]  # stays on the formula's line
    return f'<span class="formula">{mathml}{after}</span>' if after else mathml
