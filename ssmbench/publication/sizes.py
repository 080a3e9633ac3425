"""The sizes of a task, as plain values in ``leaderboard.json`` and back."""

from __future__ import annotations

from ssmbench.errors import require
from ssmbench.publication.layout import Sizes
from ssmbench.spec import Channels, Pair, TaskSizes, Tokens

_PAIR = "pair of "


def to_record(sizes: TaskSizes) -> Sizes:
    """The plain form of a task's sizes."""
    one, pair = sizes.sequence, isinstance(sizes.input, Pair)
    tokens = isinstance(one, Tokens)
    return Sizes(
        input=f"{_PAIR if pair else ''}{'tokens' if tokens else 'channels'}",
        count=one.vocabulary if isinstance(one, Tokens) else one.count,
        padding=one.padding if isinstance(one, Tokens) else 0,
        outputs=sizes.outputs,
        length=sizes.length,
        per_step=sizes.per_step,
        image=sizes.image or (),
    )


def from_record(sizes: Sizes) -> TaskSizes:
    """The sizes that :func:`to_record` wrote.

    Raises:
        UsageError: they are those of no task.
    """
    kind, pair = sizes.input.removeprefix(_PAIR), sizes.input.startswith(_PAIR)
    require(kind in ("channels", "tokens"), f"sizes: no input is called {sizes.input!r:.60}")
    require(len(sizes.image) in (0, 2), "sizes: an image has rows and columns")
    one = Channels(sizes.count) if kind == "channels" else Tokens(sizes.count, sizes.padding)
    return TaskSizes(
        input=Pair(one) if pair else one,
        outputs=sizes.outputs,
        length=sizes.length,
        per_step=sizes.per_step,
        image=(sizes.image[0], sizes.image[1]) if sizes.image else None,
    )
