"""Progress of long preparations: silent if short, lines without a terminal, a bar on one."""

from __future__ import annotations

import pytest
from rich.console import Console

from ssmbench.tasks import progress
from ssmbench.tasks.lra.contours import CHUNK, contour_images
from ssmbench.tasks.progress import Preparation


class Clock:
    """A second passes each time it is read."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())


def prepare(total: int) -> None:
    with Preparation("images", total) as shown:
        for _ in range(total):
            shown.advance()


def test_short_preparations_are_silent(capsys):
    prepare(100)
    assert capsys.readouterr() == ("", "")


def test_lines_without_a_terminal(slow, capsys):
    prepare(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "images: 3 of 100, about 129 s left"
    assert 3 <= len(lines) <= 5


def test_a_bar_on_a_terminal(slow, capsys, monkeypatch):
    def terminal(**options):
        return Console(force_terminal=True, width=80, **options)

    monkeypatch.setattr(progress, "Console", terminal)
    prepare(20)
    shown = capsys.readouterr().err
    assert "images" in shown
    assert "100%" in shown


def test_generated_images_are_counted(slow, capsys):
    contour_images(32, 5 * CHUNK, (0,), dashes=3, distractors=0)
    assert f"pathfinder: images: {3 * CHUNK} of {5 * CHUNK}" in capsys.readouterr().err
