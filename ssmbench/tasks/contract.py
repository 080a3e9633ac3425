"""Checks of the data that a task loads against the sizes that it declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssmbench.origins import describe_type, dtype_name, plugin_error, plugin_require
from ssmbench.spec import Channels, Pair, TaskSizes
from ssmbench.tasks.batch import UNSCORED, Batch
from ssmbench.tasks.sequences import SequenceData


def check_splits(load: Callable[..., Any], sizes: TaskSizes, splits: Any) -> None:
    """Check the splits that a task's ``load`` returned: all that is in memory, and the first
    sequence of what is not.

    Raises:
        PluginError: they disagree with the task's sizes; the message names the file and line of
            ``load``.
    """
    further = getattr(splits, "further", {})
    for name in ("train", "val", "test", *further):
        data = further[name] if name in further else getattr(splits, name, None)
        if not isinstance(data, SequenceData):
            raise plugin_error(
                load,
                f"gives {describe_type(data)} as the split {name}; each of train, val and test "
                "must be Sequences, Samples or another SequenceData",
            )
        if len(data) > 0:
            check_batch(load, sizes, data.to_check(), f"the split {name}")


def check_batch(load: Callable[..., Any], sizes: TaskSizes, batch: Batch, where: str) -> None:
    """Check a batch of the data that a task's ``load`` returned against the task's sizes.

    Raises:
        PluginError: they disagree.
    """
    _check_input(load, batch.u, sizes, where)
    if sizes.per_step:
        steps, scored = batch.u.shape[1], batch.target.shape[1:2]
        plugin_require(
            bool(scored) and 1 <= scored[0] <= steps,
            load,
            f"{where}: targets have the shape {tuple(batch.target.shape)}; with predictions per "
            f"step they need (B, S, ...), S at most L = {steps}",
        )
    _check_target(load, batch.target, sizes, where)


def _check_input(load: Any, u: Tensor, sizes: TaskSizes, where: str) -> None:
    one, pair = sizes.sequence, (2,) if isinstance(sizes.input, Pair) else ()
    real = isinstance(one, Channels)
    wanted = (*pair, "L", *((one.count,) if real else ()))
    found = tuple(u.shape[1:])
    fits = len(found) == len(wanted) and all(
        w in ("L", f) for w, f in zip(wanted, found, strict=True)
    )
    plugin_require(
        fits,
        load,
        f"{where}: u has the shape (B, {', '.join(map(str, found))}); the task's sizes declare "
        f"{sizes.input}, (B, {', '.join(map(str, wanted))})",
    )
    dtype = torch.float32 if real else torch.int64
    plugin_require(
        u.dtype == dtype,
        load,
        f"{where}: u is {dtype_name(u.dtype)}; {sizes.input} must be {dtype_name(dtype)}",
    )
    _check_values(load, u, sizes, where)


def _check_values(load: Any, u: Tensor, sizes: TaskSizes, where: str) -> None:
    if isinstance(sizes.sequence, Channels):
        plugin_require(bool(torch.isfinite(u).all()), load, f"{where}: u is not finite")
        return
    vocabulary = sizes.sequence.vocabulary
    low, high = int(u.min()), int(u.max())
    plugin_require(
        low >= 0 and high < vocabulary,
        load,
        f"{where}: tokens in {low}..{high}, but the vocabulary is 0..{vocabulary - 1}",
    )


def _check_target(load: Any, target: Tensor, sizes: TaskSizes, where: str) -> None:
    """Real targets are finite; whole numbers are classes, for which losses take int64 only."""
    if target.is_floating_point():
        finite = bool(torch.isfinite(target).all())
        plugin_require(finite, load, f"{where}: a target is not finite")
        return
    plugin_require(
        target.dtype == torch.int64,
        load,
        f"{where}: targets are {dtype_name(target.dtype)}; classes must be int64, values float32",
    )
    classes = target[target != UNSCORED]
    low, high = (int(classes.min()), int(classes.max())) if len(classes) else (0, 0)
    plugin_require(
        low >= 0 and high < sizes.outputs,
        load,
        f"{where}: classes in {low}..{high}, but the task's sizes declare {sizes.outputs} outputs, "
        f"0..{sizes.outputs - 1}",
    )
