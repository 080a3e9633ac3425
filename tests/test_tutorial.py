"""docs/tutorial.md, executed from the first block to the last in an empty folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.snippets import ROOT, Block, blocks_of, commands

PAGE = ROOT / "docs" / "tutorial.md"
MOST_LINES = 40
#: Commands that are no part of what is tested: they install packages, or start a server.
LEFT_OUT = ("pip", "tensorboard")


def shortened(words: list[str]) -> list[str]:
    """A command; that of the suite with the overrides that the page names for a trial."""
    if words[1] != "suite":
        return words
    (trial,) = re.findall(r"append `(.+?)`", PAGE.read_text())
    return [*words, *trial.split()]


def execute(block: Block, folder: Path, ssmbench: Callable) -> None:
    """Write the file that a block shows, or call its commands."""
    if block.head.startswith("# file: "):
        (folder / block.head.removeprefix("# file: ")).write_text(block.text)
    elif block.language == "bash":
        for words in commands(block):
            if words[0] not in LEFT_OUT:
                answer = ssmbench(*shortened(words)[1:])
                assert answer.code == 0, f"{block}: {answer.out[-2000:]}{answer.err[-2000:]}"


@pytest.mark.slow
def test_the_tutorial_leads_to_a_leaderboard_that_is_verified(workplace, ssmbench):
    for block in blocks_of(PAGE, ()):  # verify fails where a run is not accepted
        execute(block, workplace, ssmbench)
    report = json.loads((workplace / "outputs/mine/report/report.json").read_text())
    (task,) = report["tasks"]
    rows = {row["variant"]: row for row in task["rows"]}
    assert set(rows) == {"rotations", "S4D", "L2RU"}
    assert rows["rotations"]["finished"] == 1
    assert rows["rotations"]["declared"] == 4.0
    assert 0 < rows["rotations"]["verified"] <= 4.0 * (1 + 1e-4)
    assert (workplace / "outputs/mine/report/report.html").exists()
    board = json.loads((workplace / "board/leaderboard.json").read_text())
    assert len(board["entries"]) == len(rows)


def test_the_parametrization_is_short():
    (block,) = (b for b in blocks_of(PAGE, ("python",)) if b.head.startswith("# file: "))
    lines = [line.strip() for line in block.text.splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) < MOST_LINES
