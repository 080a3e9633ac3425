"""The worked examples of this checkout, as modules."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ssmbench import registry


@pytest.fixture(scope="session")
def plugin():
    """``plugin("itoh_abe")`` is the module of that file: the one that is registered."""

    def module(name: str) -> ModuleType:
        registry.discover_plugins()
        prefix = f"ssmbench_plugin_{name}_"
        (found,) = [m for key, m in sys.modules.items() if key.startswith(prefix)]
        return found

    return module
