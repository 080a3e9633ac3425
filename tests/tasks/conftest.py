"""Tasks in tests use bundled or generated data unless a test names a folder."""

import pytest

from ssmbench.tasks.data import DATA_VARIABLE


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
