"""Write the plugin files of docs/writing_a_plugin.md: they are those of ssmbench/templates.

.venv/bin/python tools/plugin_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

from ssmbench.library.templates import template

PAGE = Path(__file__).resolve().parent.parent / "docs" / "writing_a_plugin.md"
_FILE = re.compile(r"(```python\n)# file: \w+\.py\n.*?(```)", re.DOTALL)


def page() -> str:
    """The page with the template's file in the section of each kind."""
    parts = re.split(r"^(## .+\n)", PAGE.read_text(), flags=re.MULTILINE)
    sections = zip(parts[1::2], parts[2::2], strict=True)
    return parts[0] + "".join(title + _with_file(title, text) for title, text in sections)


def _with_file(title: str, section: str) -> str:
    if _FILE.search(section) is None:
        return section
    shown = template(title.removeprefix("## ").strip().lower())
    text = f"# file: {shown.example}.py\n{shown.plugin}"
    return _FILE.sub(lambda found: found[1] + text + found[2], section)


if __name__ == "__main__":
    PAGE.write_text(page())
