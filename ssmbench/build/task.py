"""Build the task of a run from its typed config."""

from __future__ import annotations

from ssmbench import registry
from ssmbench.config import RunConfig, build
from ssmbench.tasks.base import Task


def build_task(config: RunConfig) -> Task:
    """The data module of a run; no data are read yet."""
    task = build(registry.tasks, config.task, batch_size=config.batch_size, seed=config.seed)
    task.ranks_per_sequence = config.sequence_parallel
    task.expected_digest = config.data_digest
    return task
