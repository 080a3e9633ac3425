"""Tasks in tests use bundled or generated data unless a test names a folder."""

from pathlib import Path

import pytest

from ssmbench.tasks import benchmark_package
from ssmbench.tasks.data import DATA_VARIABLE


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(benchmark_package, "_data_folder", lambda: Path("absent"))
