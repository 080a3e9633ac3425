"""docs/writing_a_plugin.md has a complete file for every kind, and each one works as it stands."""

from __future__ import annotations

import pytest

from ssmbench import registry
from ssmbench.testing import conform
from tests.plugin_page import file_of


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
