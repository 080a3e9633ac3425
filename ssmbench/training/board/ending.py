"""What is written for TensorBoard at a run's end: figures of the tested weights, the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbench.analysis.attack import Attack
from ssmbench.nn.model import SequenceModel
from ssmbench.results import Result
from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.events import FIGURES, OUTCOME, event_file, write_events
from ssmbench.training.board.figures import (
    Poles,
    layer_images,
    shown_systems,
    worst_input_image,
)
from ssmbench.training.board.messages import Summary
from ssmbench.training.board.outcome import outcome_file
from ssmbench.training.board.settings import columns_of_a_run, of_a_run


def write_figures(
    folder: Path,
    model: SequenceModel,
    worst: Attack | None,
    step: int,
    drawings: Drawings,
    check: Callable[[], None] | None = None,
) -> None:
    """Draw the layers of a trained network, with the poles at earlier moments, and the ``worst``
    input found, if there is time for it. What cannot be drawn is left out, with a warning.

    Raises:
        WriteError: the file cannot be written; and what ``check`` raises.
    """
    wall = time.time()
    images = drawings.drawn(_images(model, worst, drawings.poles), at_end=True)
    if images:
        write_events(folder, FIGURES, event_file(images, step, wall), wall, check)


def _images(
    model: SequenceModel, worst: Attack | None, earlier: Sequence[Poles]
) -> Iterator[Summary]:
    yield from layer_images(model, shown_systems(model), earlier)
    if worst is not None:
        yield worst_input_image(model, worst)


def write_outcome(
    folder: Path,
    result: Result,
    config: Mapping[str, Any],
    check: Callable[[], None] | None = None,
) -> None:
    """Write the outcome of a run by itself, under a name that tells it apart from other runs.

    Raises:
        WriteError: the file cannot be written; and what ``check`` raises.
    """
    wall = time.time()
    parts = (result.variant, result.discretizer, f"s{result.seed}", result.fingerprint)
    name = "-".join(part for part in parts if part)
    content = outcome_file(result, name, of_a_run(config), columns_of_a_run(), wall)
    write_events(folder, OUTCOME, content, wall, check)
