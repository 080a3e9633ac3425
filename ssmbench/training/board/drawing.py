"""When figures are drawn for TensorBoard, and the poles that they look back on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from ssmbench.errors import one_line
from ssmbench.training.board.figures import Poles
from ssmbench.training.board.messages import Summary

#: Moments of a training at which figures are drawn, beside its end.
_MOMENTS = 4
#: Seconds that the first drawing is expected to take.
_FIRST = 1.5


class Drawings:
    """Draws at moments that are spread evenly over the training, and at its end, where that takes
    at most ``share`` of the time since :meth:`start`; whatever it takes if that is 1.

    ``poles``: those at the moments so far, to be drawn together; whether or not figures were.
    """

    def __init__(self, share: float):
        self._share = share
        self._moment = 0
        self._started = time.monotonic()
        self._spent, self._next = 0.0, _FIRST
        self.poles: list[Poles] = []

    def start(self) -> None:
        """The training begins, or goes on."""
        self._started = time.monotonic()

    def is_due(self, done: float) -> bool:
        """Whether a moment has come, with this share of the training done."""
        moment = min(_MOMENTS, int(done * (_MOMENTS + 1)))
        due = self._share > 0 and moment > self._moment and done < 1
        self._moment = max(moment, self._moment)
        return due

    def drawn(self, images: Iterator[Summary], *, at_end: bool = False) -> list[Summary]:
        """The images, or none of them if there is no time to draw them now and at the end."""
        now = time.monotonic()
        wanted = self._spent + self._next * (1 if at_end else 2)
        if self._share == 0 or (self._share < 1 and wanted > self._share * (now - self._started)):
            return []
        found = list(without_failures(images))
        self._next = time.monotonic() - now
        self._spent += self._next
        return found

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        kept = [{k: torch.from_numpy(v) for k, v in poles.items()} for poles in self.poles]
        return {"moment": self._moment, "poles": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse of :meth:`state_dict`."""
        self._moment = state["moment"]
        self.poles = [{k: v.numpy() for k, v in poles.items()} for poles in state["poles"]]


def without_failures(images: Iterator[Summary]) -> Iterator[Summary]:
    """The images up to the first that cannot be drawn, which a line on stderr says: no training
    ends for a figure."""
    try:
        yield from images
    except Exception as error:  # of plotting, and of the components of plugins
        print(f"warning: figures for TensorBoard: {one_line(error)}", file=sys.stderr, flush=True)
