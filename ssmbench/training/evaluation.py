"""Scores of a trained network: of its best weights and its last ones, on every test set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from ssmbench.errors import DivergedError, require
from ssmbench.results import Scores
from ssmbench.tasks.base import Task
from ssmbench.training.checkpoints import BestCheckpoint, load_checkpoint
from ssmbench.training.data_module import DataModule
from ssmbench.training.module import SequenceModule


def evaluate(
    trainer: pl.Trainer, module: SequenceModule, task: Task, best: BestCheckpoint
) -> Scores:
    """The scores of the weights with the best validation score, and of the last ones.

    The last weights are validated in any case, also where training ended between two validations;
    where they are the best, ``best.ckpt`` is theirs afterwards. The module has the best weights
    when this returns.

    Raises:
        DivergedError: a prediction, or the score of the best weights, is not finite.
        UsageError: the trainer's limits leave nothing to score.
    """
    scores, chosen_by = _Evaluation(trainer, module, task), str(best.monitor)
    last_val = last_test = None
    state = load_checkpoint(Path(best.best_model_path)) if best.best_model_path else None
    if state is not None and state["global_step"] != trainer.global_step:
        validated, last_test = scores.validated("last"), scores.last_test()
        last_val = validated[f"val/{task.score}"]
        if best.best_model_score is None or _is_better(
            validated[chosen_by], float(best.best_model_score), task
        ):
            trainer.save_checkpoint(best.best_model_path)
            state = None
    if state is not None:
        module.load_state_dict(state["state_dict"])
    val, test = scores.validated("best")[f"val/{task.score}"], scores.test()
    if not (math.isfinite(val) and math.isfinite(test)):
        raise DivergedError(trainer.global_step)
    further = {name: scores.further(name) for name in task.further_tests()}
    if last_val is None:
        last_val, last_test = val, test
    return Scores(val, test, further, last_val, last_test)


def _is_better(one: float, other: float, task: Task) -> bool:
    return one > other if task.higher_is_better else one < other


class _Evaluation:
    """Scores the module's present weights."""

    def __init__(self, trainer: pl.Trainer, module: SequenceModule, task: Task):
        self.trainer, self.module, self.task = trainer, module, task
        self.data = DataModule(task)

    def validated(self, weights: str) -> Mapping[str, float]:
        """Validation scores by their keys ``val/...``, logged as ``best/val/...``: a point of
        ``val/...`` would be the last epoch's."""
        with self._logged_as(weights) as log:
            validated = self.trainer.validate(self.module, datamodule=self.data, verbose=False)
            (found,) = _scored(validated, "val")
            log(found)
        return found

    def test(self) -> float:
        """On the task's test set, logged as ``test/...``."""
        tested = self.trainer.test(self.module, datamodule=self.data, verbose=False)
        (found,) = _scored(tested, "test")
        return found[f"test/{self.task.score}"]

    def last_test(self) -> float | None:
        """As :meth:`test`, logged as ``last/test/...``; None where a prediction is not finite."""
        return self._apart("last", None)

    def further(self, name: str) -> float | None:
        """On a further test set, logged as ``NAME/test/...``; None where it is not finite."""
        return self._apart(name, name)

    def _apart(self, label: str, split: str | None) -> float | None:
        loader = self.task.loader(split or "test")
        try:
            with self._logged_as(label) as log:
                tested = self.trainer.test(self.module, dataloaders=loader, verbose=False)
                (found,) = _scored(tested, "test")
                log(found)
        except DivergedError:
            self.module.forget_divergence()
            return None
        return found[f"test/{self.task.score}"]

    @contextmanager
    def _logged_as(self, label: str) -> Iterator[_Log]:
        loggers, self.trainer.loggers = self.trainer.loggers, []
        try:
            yield _Log(label, loggers, self.trainer.global_step)
        finally:
            self.trainer.loggers = loggers


class _Log:
    """Writes figures under names that begin with a label."""

    def __init__(self, label: str, loggers: Sequence[Logger], step: int):
        self.label, self.loggers, self.step = label, loggers, step

    def __call__(self, found: Mapping[str, float]) -> None:
        named = {f"{self.label}/{name}": value for name, value in found.items()}
        for logger in self.loggers:
            logger.log_metrics(named, step=self.step)


def _scored(results: list[Mapping[str, float]], split: str) -> list[Mapping[str, float]]:
    require(len(results) == 1, f"trainer.limit_{split}_batches: leaves nothing to score")
    return results
