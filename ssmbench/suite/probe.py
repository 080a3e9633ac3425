"""Estimate how long runs take, by training each kind of run for a few batches."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, accumulation, resolve, seconds, typed
from ssmbench.errors import SsmbenchError, one_line
from ssmbench.files import write_atomically
from ssmbench.results import Result
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.suite.estimates import PROBE_FILE, Kind, probed
from ssmbench.training.batches import used_batches
from ssmbench.training.progress import WARM_UP

#: Batches of a probe whose time counts.
_TIMED = 8
#: Time of a validation step, a forward pass, as a share of a training step's.
_FORWARD = 1 / 3


def probe(root: Path, configs: Mapping[Kind, Mapping[str, Any]]) -> None:
    """Train each kind of run for a few batches and measure it, in a temporary folder, and keep the
    expected seconds of whole runs in the suite's folder ``root``.

    A kind that fails, or that uses several processes, is said on stderr and stays unknown.
    """
    found = probed(root)
    root.mkdir(parents=True, exist_ok=True)
    for kind, config in configs.items():
        try:
            found[kind] = _expected(config)
        except Exception as error:  # of a plugin, for example: the others are measured
            words = str(error) if isinstance(error, SsmbenchError) else one_line(error)
            print(f"{'/'.join(kind[:2])}: not probed: {words}", file=sys.stderr)
        write_atomically(root / PROBE_FILE, jsonio.dumps(_rows(found), indent=1))


def _rows(found: Mapping[Kind, float]) -> list[dict[str, Any]]:
    names = ("task", "variant", "discretizer")
    return [
        {**dict(zip(names, kind, strict=True)), "seconds": round(value, 2)}
        for kind, value in found.items()
    ]


def _expected(config: Mapping[str, Any]) -> float:
    """Expected seconds of a run: what is done once, and its steps and validations."""
    run = typed(config)
    batches, validation = _batches(run)
    each = accumulation(run)
    short = math.ceil((WARM_UP + _TIMED * each) / batches)  # epochs, of few batches if it may be
    result, trained = _short_result(config, short, WARM_UP + _TIMED * each, batches)
    if result.seconds is None or result.steps_per_second is None:
        raise SsmbenchError("it was too short to be measured")
    batch = 1 / result.steps_per_second / each
    once = result.seconds - trained * batch - short * validation * batch * _FORWARD
    if run.budget is not None:
        return max(0.0, once) + seconds(run.budget)
    steps, epochs = _length(run.trainer, batches, each)
    return max(0.0, once) + (steps * each + epochs * validation * _FORWARD) * batch


def _batches(run: RunConfig) -> tuple[int, int]:
    """The batches of an epoch, and those of a validation."""
    task, trainer = build_task(run), run.trainer
    loaders = (task.train_dataloader(), task.val_dataloader())
    limits = (trainer.get(f"limit_{name}_batches") for name in ("train", "val"))
    used = [
        used_batches(len(loader), 1.0 if limit is None else limit)
        for loader, limit in zip(loaders, limits, strict=True)
    ]
    return max(1, used[0]), used[1]


def _length(trainer: Mapping[str, Any], batches: int, accumulated: int) -> tuple[float, float]:
    """The optimizer steps and the epochs of a whole run."""
    per_epoch = max(1, math.ceil(batches / accumulated))
    ends = [trainer.get("max_steps") or -1, per_epoch * (trainer.get("max_epochs") or -1)]
    steps = min((end for end in ends if end >= 0), default=0)
    return steps, steps / per_epoch


def _short_result(
    config: Mapping[str, Any], epochs: int, wanted: int, batches: int
) -> tuple[Result, int]:
    """The result of a short run, and the batches that it was trained with."""
    if Run.of(config, Path()).is_distributed:
        raise SsmbenchError("it uses several processes")
    limit = min(wanted, batches)
    dropped = ("max_steps", "max_time", "limit_train_batches", "check_val_every_n_epoch")
    trainer = {k: v for k, v in config["trainer"].items() if k not in dropped}
    trainer |= {"max_epochs": epochs, "limit_train_batches": limit}
    with tempfile.TemporaryDirectory(prefix="ssmbench-probe-") as folder:
        short = resolve({**config, "budget": None, "trainer": trainer})
        run = Run.of(short, Path(folder))
        state = execute(run)
        if state != "finished":
            raise SsmbenchError(f"{state} {run.folder.reason}".strip())
        return run.folder.read_result(), epochs * limit
