"""Progress of long preparations of data on stderr: generating, reading, decoding."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Preparation:
    """Shows how much of ``total`` is done, if it takes longer than a few seconds.

    A bar on a terminal; else a line after ``_PATIENCE`` seconds and one after each further
    ``_PAUSE``.

    >>> with Preparation("squares", 3) as progress:
    ...     [k * k for k in progress.over(range(3))]
    [0, 1, 4]
    """

    _PATIENCE = 3.0
    _PAUSE = 30.0

    def __init__(self, doing: str, total: int):
        self._doing, self._total, self._done = doing, total, 0
        self._started = time.monotonic()
        self._due = self._started + self._PATIENCE
        self._bar: Progress | None = None

    def __enter__(self) -> Preparation:
        return self

    def advance(self, number: int = 1) -> None:
        """So many more are done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
        elif time.monotonic() >= self._due:
            self._show()

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items; each is done when the next one is asked for."""
        for item in items:
            yield item
            self.advance()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        console = Console(stderr=True)
        if console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
            self._bar.add_task(self._doing, total=self._total, completed=self._done)
            self._bar.start()
            return
        now = time.monotonic()
        self._due = now + self._PAUSE
        left = (now - self._started) / max(1, self._done) * (self._total - self._done)
        text = f"{self._doing}: {self._done} of {self._total}, about {left:.0f} s left"
        print(text, file=sys.stderr, flush=True)
