"""The callbacks that a run's config names: Lightning's, those of ssmbench and of plugins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.callbacks import Callback

from ssmbench import registry
from ssmbench.build.component import build_component
from ssmbench.config import RunConfig
from ssmbench.nn.contracts import check_built
from ssmbench.registry import Entry
from ssmbench.tasks.base import Task


def build_callbacks(run: RunConfig, task: Task) -> list[Callback]:
    """The callbacks of a run, in the order of its config.

    Raises:
        UsageError: an option is not allowed.
        PluginError: one of them is no callback.
    """
    kind = registry.callbacks
    return [build_component(kind, one, Callback, task=task) for one in run.callbacks or ()]


def check_callback(entry: Entry, made: Any) -> None:
    """Raise a PluginError unless an entry's factory made a callback."""
    check_built(entry, made, Callback)


def notes_of(callbacks: Iterable[Callback]) -> tuple[str, ...]:
    """What callbacks have to say in the run's result: the attribute ``note`` of those that have
    one."""
    notes = (getattr(callback, "note", "") for callback in callbacks)
    return tuple(note for note in notes if note)
