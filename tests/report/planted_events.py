"""TensorBoard's events for generated runs: curves as training leaves them, layout, text, image."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import matplotlib
import numpy as np

from ssmbench.runs.folder import RunFolder
from ssmbench.suite.board import link_tensorboard
from ssmbench.suite.record import recorded_runs
from ssmbench.training.board.events import event_file, file_name, scalar, text
from ssmbench.training.board.figures import _image
from ssmbench.training.board.layout import layout

_START = 1e9
_EPOCHS, _STEPS = 10, 10


def plant_events(root: Path, *, images: bool = False) -> Path:
    """Give every complete run of a generated suite its events; returns TensorBoard's folder."""
    pictures = [_image("figures/poles", _circle())] if images else []
    for run in recorded_runs(root):
        folder = run.folder(root)
        if (folder.path / "result.json").exists():
            _plant(folder, run.label, pictures)
    return link_tensorboard(root)


def _plant(folder: RunFolder, label: str, pictures: list) -> None:
    result = folder.read_result()
    random = np.random.default_rng(zlib.crc32(label.encode()))
    layers = len(result.gain.layers)
    board = folder.path / "tensorboard"
    board.mkdir()
    score, content = result.task.metric, b""
    for epoch in range(_EPOCHS):
        left = math.exp(-epoch / 4) * (1 + 0.05 * random.standard_normal())
        points = {"train/loss": 2 * left, "val/loss": 2.1 * left + 0.1, f"val/{score}": 1 - left}
        points |= {
            "speed/steps_per_second": 50 + random.standard_normal(),
            "network/bound": 60 / left,
        }
        for index in range(layers):
            verified = result.gain.layers[index].attacked * (1 - left / 3)
            points |= {f"layer{index}/verified_gain": verified}
            points |= {
                f"layer{index}/spectral_radius": 0.99,
                f"layer{index}/margin": 0.01 + left / 100,
            }
        start = [layout(score, layers), text("config", f"```yaml\nvariant: {result.variant}\n```")]
        summaries = [scalar(tag, value) for tag, value in points.items()]
        summaries += start + pictures if epoch == 0 else []
        content += event_file(summaries, (epoch + 1) * _STEPS, _START + epoch)
    (board / file_name("0", _START)).write_bytes(content)


def _circle() -> matplotlib.figure.Figure:
    from ssmbench.figures.poles import poles_figure

    return poles_figure({"layer 0": 0.9 * np.exp(1j * np.linspace(0, 6, 9))})
