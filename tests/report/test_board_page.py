"""TensorBoard's own pages in a real browser, with the runs of a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmbench.suite.board import link_tensorboard
from ssmbench.suite.record import recorded_runs
from tests.browser import Browser
from tests.report.planted import planted_suite
from tests.report.planted_events import plant_events

#: All text of the page, also within the shadow trees that TensorBoard's pages consist of.
_TEXT = """
const collect = node => [...node.childNodes].map(child =>
  child.nodeType === 3 ? child.data :
  (["STYLE", "SCRIPT", "TEMPLATE"].includes(child.nodeName) ? "" : collect(child)) +
  (child.shadowRoot ? collect(child.shadowRoot) : "")).join(" ");
const text = collect(document.body);
return ARGUMENT.every(word => text.includes(word));
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> tuple[Path, str]:
    """A suite of 6 runs, of which one has diverged, and the address of a server that shows it."""
    from tensorboard import program

    root = planted_suite(tmp_path_factory.mktemp("planted"), 1, 3, 2)
    server = program.TensorBoard()
    logs = str(plant_events(root, images=True))
    server.configure(argv=["", "--logdir", logs, "--port", "0", "--load_fast", "false"])
    return root, server.launch()


def shows(browser: Browser, page: str, *words: str) -> None:
    browser.open(page)
    browser.wait(_TEXT.replace("ARGUMENT", repr(list(words))), seconds=60)


def _figures(root: Path) -> list[str]:
    """Scores and bounds of the runs that have finished, with the five digits that are shown."""
    results = [run.folder(root).result for run in recorded_runs(root)]
    finished = [result for result in results if result is not None and result.scores]
    figures = [(one.scores.test, one.gain.network.bound) for one in finished]
    return [f"{figure:#.5g}" for pair in figures for figure in pair]


def test_every_page_shows_the_runs_of_a_suite(browser: Browser, board: tuple[Path, str]):
    root, address = board
    columns = ("variant", "discretizer", "test score", "network bound", "network attacked")
    rows = ("task0/V0-zoh-s0", "task0/V2-none-s0", *_figures(root))
    shows(browser, f"{address}#hparams", *columns, *rows)
    charts = ("loss (training, validation)", "network", "layer 1", "spectral radius")
    shows(browser, f"{address}#custom_scalars", "Gain: declared, verified, attacked", *charts)
    shows(browser, f"{address}#text", "The network's gain is at most", "config")
    shows(browser, f"{address}#images", "figures/poles", "task0/V0-zoh-s0")


def test_a_hundred_runs_are_linked_at_once_and_again_without_duplicates(tmp_path):
    root = planted_suite(tmp_path, 2, 5, 10)
    plant_events(root)
    files = {f: f.lstat().st_mtime_ns for f in (root / "tensorboard").rglob("*tfevents*")}
    link_tensorboard(root)
    again = {f: f.lstat().st_mtime_ns for f in (root / "tensorboard").rglob("*tfevents*")}
    assert again == files
    outcomes = [f for f in files if f.suffix == ".outcome"]
    complete = sum((f / "result.json").exists() for f in (root / "runs").iterdir())
    assert len(outcomes) == complete == 88


def test_a_run_of_a_suite_has_its_row_in_the_columns_of_that_suite(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    root = planted_suite(tmp_path, 1, 2, 2, troubles=False)
    board = plant_events(root)
    events = EventAccumulator(str(board / "task0" / "V1-tustin-s1")).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    row = metadata.parse_session_start_info_plugin_data(content)
    assert row.group_name == "task0/V1-tustin-s1"
    assert row.hparams["variant"].string_value == "V1"
    assert row.hparams["seed"].string_value == "1"
    assert "task" not in row.hparams, "it is the same for all"
