"""docs/writing_a_plugin.md shows the complete file of every kind that ``ssmbench new`` writes."""

from __future__ import annotations

import re

import pytest

from ssmbench import registry
from ssmbench.library.templates import template
from tests.tools import load_tool


def test_the_page_has_the_files_of_the_templates():
    tool = load_tool("plugin_page")
    assert tool.PAGE.read_text() == tool.page(), "run tools/plugin_page.py"


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_every_kind_has_a_section_with_its_file(kind):
    page = load_tool("plugin_page").PAGE.read_text()
    sections = re.split(r"^## ", page, flags=re.MULTILINE)
    (section,) = (s for s in sections if s.partition("\n")[0].lower() == kind)
    assert f"```python\n# file: {template(kind).example}.py\n" in section
