"""TensorBoard's summaries, and files of them that are written as a whole.

What is known only at a run's end goes into files of its own beside the one that training appends
to, so that a crash leaves a whole file or none, and a resumed run deletes them and writes them
again. Loads no torch.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from ssmbench.files import write_atomically
from ssmbench.training.board.messages import Summary, core, plugin

#: Name of the folder of a run's events.
TENSORBOARD = "tensorboard"
#: Last part of the names of the files that are written at a run's end.
FIGURES, OUTCOME = "figures", "outcome"
_VERSION = "brain.Event:2"


def scalar(tag: str, value: float) -> Summary:
    """One point of a curve."""
    messages = core("summary_pb2").Summary
    return messages(value=[messages.Value(tag=tag, simple_value=value)])


def text(tag: str, markdown: str) -> Summary:
    """A text in Markdown, under the name that ``SummaryWriter.add_text`` gives it."""
    return plugin("text.summary_v2").text_pb(f"{tag}/text_summary", markdown)


def image(tag: str, png: bytes, width: int, height: int) -> Summary:
    """A picture of this size in pixels."""
    messages = core("summary_pb2").Summary
    content = messages.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    return messages(value=[messages.Value(tag=tag, image=content)])


def event_file(summaries: Iterable[Summary], step: int, wall: float) -> bytes:
    """The content of a file of events at one step and one time (Unix, in seconds)."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    stream, message = io.BytesIO(), core("event_pb2").Event
    records = RecordWriter(stream)
    records.write(message(wall_time=wall, file_version=_VERSION).SerializeToString())
    for summary in summaries:
        event = message(wall_time=wall, step=step, summary=summary)
        records.write(event.SerializeToString())
    return stream.getvalue()


def file_name(kind: str, wall: float) -> str:
    """TensorBoard reads the files of a folder by name: this one after all that began earlier."""
    return f"events.out.tfevents.{int(wall)}.{socket.gethostname()}.{os.getpid()}.{kind}"


def write_events(
    run: Path, kind: str, content: bytes, wall: float, check: Callable[[], None] | None = None
) -> Path:
    """Write a file of events of this kind into a run's folder, in place of earlier ones.

    The draft lies outside the folder of events, where TensorBoard would read it. ``check``: as in
    :func:`ssmbench.files.write_atomically`.

    Raises:
        WriteError: it cannot be written.
    """
    board = run / TENSORBOARD
    board.mkdir(exist_ok=True)
    file = board / file_name(kind, wall)
    for earlier in board.glob(f"*tfevents*.{kind}"):
        if earlier != file:
            earlier.unlink(missing_ok=True)
    write_atomically(file, content, drafts=run, check=check)
    return file
