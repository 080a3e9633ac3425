"""What TensorBoard shows of a training under way."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.events import scalar, text
from ssmbench.training.board.figures import layer_images, poles_of, shown_systems
from ssmbench.training.board.layout import layout
from ssmbench.training.loggers import EventsLogger, board_of
from ssmbench.training.module import SequenceModule
from ssmbench.training.out_of_memory import MONITORING
from ssmbench.training.progress import Speed


class Board(pl.Callback):
    """Layout and config at the start, speed after each epoch, and figures of the layers at some
    moments (:class:`Drawings`)."""

    def __init__(self, config: str, speed: Speed, drawings: Drawings):
        self._config, self._speed, self._drawings = config, speed, drawings

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        self._drawings.start()
        board = board_of(trainer.loggers)
        if trainer.global_step == 0 and board:
            charts = layout(pl_module.task.score, len(pl_module.model.layers))
            board.log_summaries([charts, text("config", self._config)], step=0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        budget = pl_module.budget
        done = None if budget is None else budget.share(trainer)  # asks the other ranks
        board = board_of(trainer.loggers)
        if trainer.is_global_zero and board is not None:
            self._write(board, trainer.global_step, pl_module, done)

    def _write(
        self, board: EventsLogger, step: int, module: SequenceModule, done: float | None
    ) -> None:
        rate = self._speed.lap()
        if rate is not None:
            board.log_summaries([scalar("speed/steps_per_second", rate)], step)
        if not self._drawings.is_due(step / max(1, module.total_steps()) if done is None else done):
            return
        module.doing = MONITORING
        systems, earlier = shown_systems(module.model), tuple(self._drawings.poles)
        self._drawings.poles.append(poles_of(systems))
        images = layer_images(module.model, systems, earlier)
        board.log_summaries(self._drawings.drawn(images), step)

    def state_dict(self) -> dict[str, Any]:
        return self._drawings.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._drawings.load_state_dict(state_dict)
