"""The plugin files of docs/writing_a_plugin.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "writing_a_plugin.md"


def file_of(kind: str) -> tuple[str, str]:
    """Name and text of the plugin file in the section of a kind."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = (s for s in sections if s.partition("\n")[0].lower() == kind)
    found = re.search(r"```python\n# file: (\w+\.py)\n(.*?)```", section, re.DOTALL)
    assert found, f"no file in the section on a {kind}"
    return found[1], found[2]
