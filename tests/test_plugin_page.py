"""docs/writing_a_plugin.md has a complete file for every kind, and each one works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssmbench import registry
from ssmbench.testing import conform

PAGE = Path(__file__).parents[1] / "docs" / "writing_a_plugin.md"


def file_of(kind: str) -> tuple[str, str]:
    """Name and text of the plugin file in the section of a kind."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = (s for s in sections if s.partition("\n")[0].lower() == kind)
    found = re.search(r"```python\n# file: (\w+\.py)\n(.*?)```", section, re.DOTALL)
    assert found, f"no file in the section on a {kind}"
    return found[1], found[2]


@pytest.fixture(params=sorted(registry.KINDS))
def entry(request, tmp_path, monkeypatch) -> registry.Entry:
    """The entry of a kind that the page's file registers, found as a plugin in ``./plugins``."""
    name, text = file_of(request.param)
    folder = tmp_path / registry.PLUGINS_FOLDER
    folder.mkdir()
    (folder / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with registry.isolated(rediscover=True):
        added = [e for e in registry.KINDS[request.param] if str(folder) in e.origin]
        assert registry.plugin_failures() == []
        (found,) = added
        yield found


def test_the_file_registers_an_entry_that_conforms(entry):
    assert entry.citation
    assert entry.summary
    conform(entry)
