"""From results to a table that has an answer in every cell."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from ssmbench.errors import UsageError
from ssmbench.figures.saving import save_figure
from ssmbench.figures.style import PALETTE
from ssmbench.report.collect import RunRecord, collect
from ssmbench.report.contents import About, Contents, contents
from ssmbench.report.figures import gains, robustness
from ssmbench.report.statistics import RobustnessRow, robustness_rows, rows
from ssmbench.report.tables import LEADERBOARD, leaderboard_table, robustness_table
from ssmbench.report.texts import number, radius_text, score_text
from ssmbench.report.write import write_report
from ssmbench.report.writers.markdown import to_markdown
from ssmbench.report.writers.spreadsheets import to_csv
from ssmbench.results import (
    Environment,
    Gains,
    NetworkGains,
    PublishedScore,
    Result,
    RobustnessPoint,
    Scores,
    TaskFacts,
)
from ssmbench.runs.folder import RunFolder
from ssmbench.suite.board import link_tensorboard
from tests.strict_json import strict_json


def curve(
    scores: dict[float, float | None], kind: str = "adversarial"
) -> tuple[RobustnessPoint, ...]:
    """The ``robustness`` of a result."""
    return tuple(RobustnessPoint(energy=e, kind=kind, score=score) for e, score in scores.items())


def result(score: float | None = 0.5, robustness: Any = (), **gain: Any) -> Result:
    """A result as ``execute`` writes it; diverged where there is no score."""
    network = NetworkGains(declared=None, bound=3.0, reason="", attacked=1.0)
    gains = {"declared": None, "verified": 2.0, "attacked": 1.0, "spectral_radius": 0.9}
    return Result(
        status="diverged" if score is None else "finished",
        diverged_at=7 if score is None else None,
        task=TaskFacts("digits", "bundled", "accuracy", higher_is_better=True, unit=""),
        scores=None if score is None else Scores(val=score, test=score),
        gain=Gains(**{**gains, "network": network, **gain}),
        robustness=robustness,
        parameters=10,
        steps_per_second=5.0,
        environment=Environment(device="cpu", threads=1),
    )


def record(state: str, seed: int = 0, variant: str = "S4D", **about: Any) -> RunRecord:
    about = {"finished": result, "diverged": lambda **k: result(None, **k)}.get(
        state, lambda **_: None
    )(**about)
    return RunRecord("digits", variant, "zoh", seed, f"{variant}{seed}", state, about)


#: One variant for each thing that may become of runs, and one in which all of it happens.
EVERYTHING = [
    record("finished", variant="finished"),
    record("diverged", variant="diverged", verified=math.inf, spectral_radius=math.inf),
    record("failed", variant="failed"),
    record("missing", variant="missing"),
    record("running", variant="running"),
    *(
        record(state, seed, variant="mixed")
        for seed, state in enumerate(["finished", "finished", "diverged", "failed", "missing"])
    ),
]


def shown(records: list[RunRecord]) -> Contents:
    """What the report of some runs shows."""
    return contents(records, About("name"))


def cells_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# --- statistics ---------------------------------------------------------------------------------

figures = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(figures, figures, figures), min_size=1, max_size=6))
def test_rows_hold_the_mean_the_spread_and_the_worst(drawn):
    records = [
        record("finished", seed, score=score, verified=verified, attacked=attacked)
        for seed, (score, verified, attacked) in enumerate(drawn)
    ]
    (row,) = rows(records)
    scores, verified, attacked = zip(*drawn, strict=True)
    assert row.score_mean == pytest.approx(sum(scores) / len(scores))
    assert (row.verified, row.attacked) == (max(verified), max(attacked))
    if len(scores) == 1:
        assert row.score_spread is None
    else:
        assert row.score_spread == pytest.approx(statistics.stdev(scores))


@given(
    st.lists(st.sampled_from(["finished", "diverged", "failed", "missing", "running"]), max_size=6)
)
def test_rows_count_what_became_of_every_run(states):
    table = rows(record(state, seed) for seed, state in enumerate(states))
    for row in table:
        assert row.runs == len(states)
        counts = {"finished": row.finished, "diverged": row.diverged, "failed": row.failed}
        assert counts == {state: states.count(state) for state in counts}
        assert all(state in row.outcome for state in set(states) - {"finished", "diverged"})
        assert ("diverged at step 7" in row.outcome) == ("diverged" in states)


def test_scores_are_of_finished_runs_alone_and_gains_of_complete_ones():
    (row,) = rows([record("finished", 0), record("diverged", 1, verified=math.inf)])
    assert (row.score_mean, row.score_spread, row.verified) == (0.5, None, math.inf)
    assert row.outcome == "1 finished, diverged at step 7"


def test_rows_are_grouped_by_task_variant_and_discretizer_in_order():
    table = rows([record("finished", s, variant=v) for v in ("b", "a") for s in (0, 1)])
    assert [(row.variant, row.runs) for row in table] == [("b", 2), ("a", 2)]


def test_a_missing_declaration_is_none_and_not_a_number():
    (row,) = rows([record("finished", 0), record("finished", 1)])
    assert row.declared is None


def test_violations_of_all_seeds_are_listed():
    both = [record("finished", s, violations=(f"seed {s} lies",)) for s in (0, 1)]
    assert rows(both)[0].violations == ("seed 0 lies", "seed 1 lies")


def test_robustness_is_a_row_for_every_kind_and_energy():
    records = [
        record("finished", seed, robustness=curve({0.0: 0.9, 0.1: score}))
        for seed, score in enumerate([0.2, 0.4])
    ]
    first, second = robustness_rows(records)
    assert (first.kind, first.energy, first.runs) == ("adversarial", 0.0, 2)
    assert second.score_mean == pytest.approx(0.3)
    assert second.score_spread == pytest.approx(statistics.stdev([0.2, 0.4]))


def test_robustness_is_of_finished_runs_that_have_it():
    without = record("finished", robustness=())
    assert robustness_rows([without, record("diverged", 1), record("failed", 2)]) == []
    (row,) = robustness_rows([without, record("finished", 3, robustness=curve({1.0: 0.5}))])
    assert (row.runs, row.score_mean, row.score_spread) == (1, 0.5, None)


def test_a_prediction_that_was_not_finite_leaves_no_mean():
    both = [record("finished", s, robustness=curve({3.0: x})) for s, x in ((0, 0.5), (1, None))]
    (row,) = robustness_rows(both)
    assert (row.runs, row.score_mean, row.score_spread) == (2, None, None)


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(None, "none"), (math.inf, "inf"), (1.23456, "1.235"), (0.0, "0")]
)
def test_numbers_in_words(value, text):
    assert number(value) == text


def test_a_radius_shows_on_which_side_of_one_it_lies():
    assert radius_text(0.99996) == "0.999960"
    assert radius_text(None) == "none"
    assert radius_text(math.inf) == "inf"


def test_scores_carry_their_spread_and_what_happened_to_the_rest():
    (row,) = rows([r for r in EVERYTHING if r.variant == "mixed"])
    assert score_text(row) == (
        "0.5000 [0.5000, 0.5000] (2 finished, diverged at step 7, failed, missing)"
    )


@pytest.mark.parametrize("title", LEADERBOARD)
def test_the_tables_have_an_answer_in_every_cell(title):
    text = leaderboard_table(rows(EVERYTHING), LEADERBOARD[title])
    table = cells_of(text)
    assert set(table[0]) <= set(LEADERBOARD[title])
    assert {row[0] for row in table[1:]} >= {"finished", "diverged", "failed", "missing", "mixed"}
    for row in table:
        assert len(row) == len(table[0])
        assert all(row), row
    assert "nan" not in text.lower()


def test_what_no_parametrization_declares_is_none():
    table = cells_of(leaderboard_table(rows(EVERYTHING), LEADERBOARD["Gains of layers"]))
    assert {row[table[0].index("declared")] for row in table[2:]} == {"none"}
    assert "tightness" not in table[0]


def test_a_bar_in_a_label_does_not_break_the_table():
    table = cells_of(leaderboard_table(rows([record("finished", variant="gain |D|")])))
    assert table[2][0] == r"gain \|D\|"
    assert len(table[2]) == len(table[0])


def test_the_robustness_table_has_a_line_for_each_kind_and_a_column_for_each_energy():
    points = curve({0.0: 0.9, 0.1: 0.5}, "random") + curve({0.0: 0.9, 0.1: None, 3.0: 0.1})
    text = robustness_table(robustness_rows([record("finished", robustness=points)]))
    header, *lines = (line for line in cells_of(text) if "---" not in line)
    assert header == ["variant", "discretizer", "disturbance", "0", "0.1", "3"]
    assert lines == [
        ["S4D", "zoh", "random", "0.9000", "0.5000", "none"],
        ["S4D", "zoh", "adversarial", "0.9000", "none", "0.1000"],
    ]


def test_the_csv_has_an_answer_in_every_cell():
    text = to_csv(rows(EVERYTHING))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 6
    for line in lines:
        assert all(line.values()), line
    assert "nan" not in text.lower()
    assert {line["declared"] for line in lines} == {"none"}


def test_the_page_lists_violated_bounds_and_only_then():
    assert "Violated bounds" not in to_markdown(shown(EVERYTHING))
    violating = [record("finished", violations=("verified 1 > declared 0.1",))]
    page = to_markdown(shown(violating))
    assert "## Violated bounds\n\n- digits, S4D, zoh: verified 1 > declared 0.1" in page


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def mixed_suite(workplace):
    """A suite's folder with finished, diverged, failed, running and missing runs."""
    cells, locks = [], contextlib.ExitStack()
    for item in EVERYTHING:
        folder = RunFolder(workplace / "runs" / item.fingerprint)
        folder.path.mkdir(parents=True)
        if item.state != "missing":
            folder.write_status(item.state)
        if item.state == "running":
            locks.enter_context(folder.lock())
        if item.result:
            folder.write_result(item.result)
            np.savez(folder.path / "poles.npz", layer0=np.array([0.5j]))
        names = ("task", "variant", "discretizer", "seed", "fingerprint")
        cell = {name: getattr(item, name) for name in names}
        cells.append(cell | {"label": f"digits/{item.variant}-zoh-s{item.seed}"})
    (workplace / "suite.json").write_text(json.dumps({"name": "mixed", "cells": cells}))
    with locks:
        yield workplace


def test_collecting_a_suite_gives_its_runs_in_order(mixed_suite):
    assert collect(mixed_suite) == EVERYTHING


def test_a_report_of_all_kinds_of_runs_has_no_gap_in_any_file(mixed_suite):
    files = write_report(mixed_suite)
    plotted = {"gain_plot", "network_gain_plot", "poles_digits"}
    texts = {"markdown", "csv", "runs_csv", "comparisons_csv", "json", "latex", "html"}
    assert set(files) == texts | plotted
    written = strict_json(files["json"].read_text())
    assert written["schema"] == 1
    assert len(written["tasks"][0]["rows"]) == 6
    for kind in plotted:
        assert files[kind].read_bytes().startswith(b"\x89PNG")
        assert f"({files[kind].name})" in files["markdown"].read_text()
    for kind, lines in (("csv", 6), ("runs_csv", 10)):
        written = list(csv.DictReader(io.StringIO(files[kind].read_text())))
        assert len(written) == lines
        assert all(all(line.values()) for line in written)
    assert all(all(row) for row in cells_of(files["markdown"].read_text()))


def test_robustness_stands_in_the_report_beside_the_gains(mixed_suite):
    folder = RunFolder(mixed_suite / "runs" / "finished0")
    points = curve({0.0: 0.9, 1.0: 0.1}) + curve({0.0: 0.9, 1.0: None}, "random")
    folder.write_result(replace(folder.result, robustness=points))
    files = write_report(mixed_suite)
    assert files["robustness_digits"].read_bytes().startswith(b"\x89PNG")
    page = files["markdown"].read_text()
    assert "(robustness_digits.png)" in page
    section = page.partition("### Robustness: digits")[2]
    assert "| finished | zoh | adversarial | 0.9000 | 0.1000 |" in section
    lines = list(csv.DictReader(io.StringIO(files["robustness_csv"].read_text())))
    assert [line["score_mean"] for line in lines] == ["0.9", "0.1", "0.9", "none"]
    assert set(lines[0]) == {field.name for field in dataclasses.fields(RobustnessRow)}


def test_published_scores_stand_apart_from_those_of_the_runs(mixed_suite):
    folder = RunFolder(mixed_suite / "runs" / "finished0")
    worse = PublishedScore("A", 0.9, "a paper", "test")
    better = PublishedScore("B | C", 0.95, "another", note="in colour")
    about = replace(folder.result.task, published=(worse, better))
    folder.write_result(replace(folder.result, task=about))
    files = write_report(mixed_suite)
    page = files["markdown"].read_text()
    section = page.partition("### Published: digits")[2].partition("### ")[0]
    assert [line for line in section.splitlines() if line.startswith("| ")][2:] == [
        r"| B \| C | test | not stated | another (in colour) | 0.9500 |",
        "| A | test | test | a paper | 0.9000 |",
    ]
    (task,) = strict_json(files["json"].read_text())["tasks"]
    written = task["published"]
    assert [(row["task"], row["model"], row["score"]) for row in written] == [
        ("digits", "B | C", 0.95),
        ("digits", "A", 0.9),
    ]
    lines = list(csv.DictReader(io.StringIO(files["published_csv"].read_text())))
    assert [line["source"] for line in lines] == ["another", "a paper"]
    assert page.count("a paper") == 1


def test_the_report_says_which_discretizer_kept_a_promised_gain(mixed_suite):
    folder = RunFolder(mixed_suite / "runs" / "finished0")
    saved = folder.result
    for verified, verdict in ((2.00001, "kept"), (3.0, "violated")):
        gain = replace(saved.gain, promised=2.0, verified=verified)
        folder.write_result(replace(saved, gain=gain))
        page = write_report(mixed_suite)["markdown"].read_text()
        section = page.partition("### Gain before and after sampling: digits")[2]
        section = section.partition("### ")[0]
        line = next(line for line in section.splitlines() if line.startswith("| finished"))
        assert line.split(" | ")[2:4] == [verdict, "2"]
        assert section.count("| zoh |") == 1  # the others have no prescribed gain
    folder.write_result(saved)
    assert "before and after sampling" not in write_report(mixed_suite)["markdown"].read_text()


def test_a_suite_without_a_single_complete_run_has_a_report(mixed_suite):
    for folder in (mixed_suite / "runs").iterdir():
        (folder / "result.json").unlink(missing_ok=True)
    page = write_report(mixed_suite)["markdown"].read_text()
    assert "No run is complete." in page


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_folder_without_a_suite_is_refused(content, workplace):
    if content is not None:
        (workplace / "suite.json").write_text(content)
    with pytest.raises(UsageError, match="no suite was run there"):
        collect(workplace)


@pytest.mark.parametrize("gain", [0.0, 1e-30, 1.0, 1e200, math.inf])
def test_any_verified_gain_can_be_plotted(gain, tmp_path):
    table = rows([record("finished", verified=gain), record("finished", variant="other")])
    file = save_figure(gains.score_against_gain(table), tmp_path / "plot.png")
    assert file.stat().st_size > 1000


@pytest.mark.parametrize(
    "scores", [{0.0: 0.5}, {0.1: 0.5, 3.0: 0.1}, {0.0: None, 1.0: None}, {0.0: 0.5, 1e-9: 0.4}]
)
def test_any_curve_can_be_plotted(scores, tmp_path):
    records = [record("finished", robustness=curve(scores))]
    figure = robustness.robustness(robustness_rows(records), rows(records), "digits")
    file = save_figure(figure, tmp_path / "a.png")
    assert file.stat().st_size > 1000


def test_colours_and_markers_are_the_same_in_every_plot():
    records = [
        record("finished", variant=v, robustness=curve({0.0: 0.5}) + curve({0.0: 0.5}, "random"))
        for v in ("absent here", "a", "b")
    ]
    table = rows(records)
    (axis,) = robustness.robustness(robustness_rows(records[1:]), table, "digits").axes
    drawn = [curve.lines[0] for curve in axis.containers]
    assert [line.get_color() for line in drawn] == [PALETTE[1], PALETTE[1], PALETTE[2], PALETTE[2]]
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-", "--"]
    assert len({line.get_marker() for line in drawn}) == 1


# --- the report of a real suite -----------------------------------------------------------------


@pytest.mark.slow
def test_the_report_catches_a_false_declaration(troubled):
    page = (troubled.root / "report" / "report.md").read_text()
    violated = page.partition("## Violated bounds")[2].partition("##")[0].strip()
    assert violated == "- digits, Lying, none: layer 0: verified 1 > declared 0.1"
    rows_ = {row["variant"]: row for row in strict_json(troubled.out)["rows"]}
    assert rows_["Lying"]["violations"] == ["layer 0: verified 1 > declared 0.1"]


def test_the_report_of_a_troubled_suite_is_whole(troubled):
    files = strict_json(troubled.out)["files"]
    root = troubled.root.parent
    strict_json((root / files["json"]).read_text())
    page = (root / files["markdown"]).read_text()
    parts = page.partition("### Comparisons")[0].split("### ")
    tables = [cells_of(part) for part in parts]
    assert [len(one) for one in tables] == [1 + 1 + 6] * 4, "scores, gains twice, costs"
    assert all(all(row) for one in tables for row in one)
    table = tables[0]
    scores = {row[0]: row[2] for row in table}
    assert scores["Diverging"] == "diverged at step 0"
    assert {scores[name] for name in ("Killing", "Crashing", "Exiting")} == {"failed"}


def test_tensorboard_finds_the_runs_under_readable_names(troubled):
    board = EventMultiplexer().AddRunsFromDirectory(str(troubled.root / "tensorboard"))
    board.Reload()
    assert "digits/Good-zoh-s0" in board.Runs()
    assert "test/accuracy" in board.Runs()["digits/Good-zoh-s0"]["scalars"]
    assert board.Scalars("digits/Good-zoh-s0", "train/loss")[0].value > 0


def test_events_can_be_read(troubled):
    events = EventAccumulator(str(troubled.run("Good").path / "tensorboard"))
    events.Reload()
    loss = events.Scalars("train/loss")
    lines = (troubled.run("Good").path / "metrics.jsonl").read_text().splitlines()
    logged = [strict_json(line) for line in lines]
    expected = [row["train/loss"] for row in logged if "train/loss" in row]
    assert [point.value for point in loss] == pytest.approx(expected)


def test_links_are_made_again_and_point_to_where_the_events_are(mixed_suite):
    events = mixed_suite / "runs" / "finished0" / "tensorboard" / "events.out.tfevents.1.host.2.0"
    events.parent.mkdir()
    events.touch()
    events.with_suffix(".outcome").touch()
    for _ in range(2):
        board = link_tensorboard(mixed_suite)
    run = board / "digits" / "finished-zoh-s0"
    link, outcome = sorted(run.iterdir(), key=lambda file: file.name.endswith("outcome"))
    assert link.resolve() == events.resolve()
    assert not link.readlink().is_absolute(), "a suite's folder may be moved"
    assert not outcome.is_symlink(), "with the columns of this suite"
    linked = {place.name: place.readlink() for place in run.parent.iterdir() if place != run}
    assert set(linked) == {"running-zoh-s0", "missing-zoh-s0", "mixed-zoh-s4"}, (
        "that may have events yet"
    )
    assert not any(target.is_absolute() for target in linked.values())


# --- labels of the axes --------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [10, 1e3, 1e5, 1e12])
def test_labels_of_a_logarithmic_axis_do_not_overlap(reach):
    """Whatever the ratio of an upper bound to the gain below it."""
    (row,) = rows([record("finished", verified=2.0)])
    figure = gains.score_against_network_gain([replace(row, network_bound=reach)])
    FigureCanvasAgg(figure).draw()
    (axis,) = figure.axes
    low, high = axis.get_xlim()
    labels = [
        label.get_window_extent()
        for place, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        if low <= place <= high
    ]
    assert len(labels) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
