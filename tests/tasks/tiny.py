"""Every task in its small form, with files that are there until the process ends."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ssmbench.registry import tasks
from ssmbench.tasks.base import Task


@functools.cache
def _folder(name: str) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix=name)


@functools.cache
def _options(name: str) -> dict[str, Any]:
    factory = tasks.get(name).factory
    return dict(factory.tiny(Path(_folder(name).name)))


def tiny_options(name: str) -> dict[str, Any]:
    """Options of the task's small form; skips the test where a package that it needs is absent."""
    needed = getattr(tasks.get(name).factory, "requires", "")
    if needed:
        pytest.importorskip(needed)
    return dict(_options(name))


def tiny_config(name: str) -> Any:
    """The task's config with them."""
    return tasks.get(name).config(**tiny_options(name))


def tiny_task(name: str, batch_size: int = 8, seed: int = 0, **options: Any) -> Task:
    """The task with them, and with ``options`` in place of some."""
    entry = tasks.get(name)
    config = entry.config(**tiny_options(name) | options)
    return entry.build(config, batch_size=batch_size, seed=seed)
