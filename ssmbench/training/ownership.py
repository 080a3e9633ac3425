"""Training ends where another process has taken the run over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import Callback


class Ownership(Callback):
    """Calls ``check`` after each batch, and before anything is logged or written.

    ``check`` raises where another process has taken the run over. The callbacks that write
    checkpoints come after all others, hence after this one.
    """

    def __init__(self, check: Callable[[], None]):
        self._check = check

    def on_train_batch_end(self, *_: Any) -> None:
        self._check()

    def on_validation_end(self, *_: Any) -> None:
        self._check()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._check()

    def on_save_checkpoint(self, *_: Any) -> None:
        self._check()
