"""Build the task of a run from its typed config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ssmbench import registry
from ssmbench.augmentations.base import Augmentation
from ssmbench.build.component import build_component
from ssmbench.config import RunConfig, build
from ssmbench.errors import require
from ssmbench.tasks.base import Task
from ssmbench.tasks.conditions import Conditions, check_droppable


def build_task(config: RunConfig) -> Task:
    """The task of a run, under the run's conditions; no data are read yet.

    Raises:
        UsageError: the task's options are invalid, an augmentation or label smoothing do not suit
            it, or it does not meet a condition of the run.
    """
    task: Task = build(registry.tasks, config.task, batch_size=config.batch_size, seed=config.seed)
    task.conditions = _conditions(config)
    if task.conditions.uneven:
        check_droppable(config.task["name"], task.sizes, task.undroppable_reason)
    reason = task.fixed_length_reason if config.length_factors else ""
    require(not reason, f"length_factors: {config.task['name']} cannot be made longer: {reason}")
    task.ranks_per_sequence = config.sequence_parallel
    task.expected_digest = config.data_digest
    require(
        task.classifies or config.label_smoothing == 0,
        f"label_smoothing: the targets of {config.task['name']} are not classes; it must be 0",
    )
    task.label_smoothing = config.label_smoothing
    task.augmentations = [build_augmentation(one, task) for one in config.augment or ()]
    return task


def build_augmentation(component: Mapping[str, Any], task: Task) -> Augmentation:
    """An augmentation of a task's training batches.

    Raises:
        UsageError: it does not take the task's inputs, or would make its targets wrong.
    """
    sizes = replace(task.sizes, image=None) if task.conditions.uneven else task.sizes
    made = build_component(registry.augmentations, component, Augmentation, sizes=sizes)
    require(
        made.keeps_values or (task.classifies and not sizes.per_step),
        f"augmentation {component['name']}: it keeps the class of a whole sequence right, but this "
        "task has other targets",
    )
    return made


def _conditions(config: RunConfig) -> Conditions:
    sampling = config.sampling
    return Conditions(
        dropped=sampling.dropped,
        test_dropped=tuple(sampling.test_dropped),
        seed=sampling.seed,
        length_factors=tuple(config.length_factors),
    )
