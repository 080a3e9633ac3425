"""Several suites: joined, and one against another; every file of a large one."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from ssmbench.errors import UsageError
from ssmbench.library.reports import write_report
from ssmbench.report.against import against
from ssmbench.report.contents import contents
from ssmbench.report.suites import distinct_names, joined, read_source
from ssmbench.report.writers.latex import escaped, to_latex
from ssmbench.report.writers.markdown import to_markdown
from tests.report.planted import planted_suite
from tests.strict_json import strict_json


def source(root, tasks: int = 1, variants: int = 2, seeds: int = 2, **options):
    options = {"troubles": False, "curves": False} | options
    return read_source(planted_suite(root, tasks, variants, seeds, **options))


def shown(joint):
    return contents(joint.records, joint.about)


# --- joined -------------------------------------------------------------------------------------


def test_seeds_of_two_people_are_one_row(tmp_path):
    joint = joined([source(tmp_path / "a"), source(tmp_path / "b", first_seed=2)])
    assert joint.about.sources == ("a", "b")
    assert joint.about.warnings == ()
    first, second = shown(joint).rows
    assert sorted(first.scores) == sorted(second.scores) == [0, 1, 2, 3]
    assert [seed.source for seed in first.seeds] == ["a", "a", "b", "b"]


def test_equal_cells_are_both_kept_and_count_once(tmp_path):
    joint = joined([source(tmp_path / "a"), source(tmp_path / "b", shift=0.01)])
    row = shown(joint).rows[0]
    assert [(seed.seed, seed.source) for seed in row.seeds] == [
        *((0, "a"), (1, "a")),
        *((0, "b"), (1, "b")),
    ]
    assert (row.runs, len(row.scores)) == (4, 2)


@pytest.mark.parametrize("other", [{"digest": "another"}, {"metric": "f1"}])
def test_other_data_or_another_metric_is_another_task(tmp_path, other):
    joint = joined([source(tmp_path / "a"), source(tmp_path / "b", **other)])
    found = shown(joint)
    assert [task.name for task in found.tasks] == ["task0 (a)", "task0 (b)"]
    (warning,) = found.warnings
    assert warning.startswith("task0 is not the same task everywhere: a has accuracy on data 01")
    assert f"**{warning}.**" in to_markdown(found)


def test_other_settings_are_another_variant(tmp_path):
    sources = [source(tmp_path / "a"), source(tmp_path / "b", first_seed=2)]
    for record in sources[1].records:
        if record.variant == "V0":
            file = record.folder / "config.yaml"
            file.write_text(file.read_text().replace('"task"', '"trainer": {"epochs": 3}, "task"'))
    found = shown(joined(sources))
    assert sorted(row.variant for row in found.rows) == ["V0 (a)", "V0 (b)", "V1"]
    assert found.warnings == (
        "task0, V0, zoh: the settings of a and b differ, so their runs are not joined",
    )


def test_folders_have_the_shortest_names_that_differ(tmp_path):
    one, other = tmp_path / "x" / "suite", tmp_path / "y" / "suite"
    assert distinct_names([one, other]) == ["x/suite", "y/suite"]
    assert distinct_names([one]) == ["suite"]
    with pytest.raises(UsageError, match="given twice"):
        distinct_names([one, one])


# --- against ------------------------------------------------------------------------------------


def test_the_same_cells_are_compared_and_the_others_named(tmp_path):
    here = source(tmp_path / "a", seeds=7, variants=1)
    there = source(tmp_path / "b", seeds=7, variants=1, shift=-0.05, first_seed=1)
    found = against(here.records, there.records, ("a", "b"))
    (row,) = found.rows
    assert row.comparison.pairs == 6
    assert (row.comparison.verdict, row.comparison.better) == ("better", 0)
    assert row.here - row.there == pytest.approx(row.comparison.difference)
    gains = {gain.name: (gain.here, gain.there) for gain in row.gains}
    assert gains["declared"] == (None, None)
    assert gains["verified"][0] != gains["verified"][1]
    assert found.only_here == ("task0/V0-zoh-s0",)
    assert found.only_there == ("task0/V0-zoh-s7",)
    assert found.warnings == ()


def test_a_suite_against_itself_shows_no_difference(tmp_path):
    here = source(tmp_path / "a", tasks=2, seeds=6)
    found = against(here.records, here.records, ("a", "a"))
    assert {row.comparison.difference for row in found.rows} == {0}
    assert {row.comparison.p for row in found.rows} == {1}
    assert (found.only_here, found.only_there) == ((), ())


def test_another_task_is_named(tmp_path):
    here, there = source(tmp_path / "a"), source(tmp_path / "b", digest="another")
    found = against(here.records, there.records, ("a", "b"))
    assert "not the same task everywhere" in found.warnings[0]


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def suites(tmp_path):
    return [
        planted_suite(tmp_path / "a", 1, 3, 3),
        planted_suite(tmp_path / "b", 1, 3, 3, first_seed=1, shift=0.01, curves=False),
    ]


def test_reports_of_two_suites_are_written(suites, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joint = write_report(*suites)
    assert joint.files["json"] == tmp_path / "outputs" / "merged" / "report" / "report.json"
    written = strict_json(joint.files["json"].read_text())
    assert (written["schema"], written["sources"]) == (1, ["a", "b"])
    rows = [row for task in written["tasks"] for row in task["rows"]]
    assert len(rows) == len(joint.rows) == 3
    lines = list(csv.DictReader(io.StringIO(joint.files["runs_csv"].read_text())))
    assert len(lines) == sum(row["runs"] for row in rows) == 18
    assert {line["source"] for line in lines} == {"a", "b"}
    compared = write_report(suites[0], against=suites[1])
    assert compared.files["markdown"] == suites[0] / "report_against_b" / "report.md"
    page = compared.files["markdown"].read_text()
    assert "## a against b" in page
    assert "Only in a: task0/V0-zoh-s0" in page


def test_a_reason_stands_beside_every_run_without_a_score(suites):
    found = shown(read_source(suites[0]))
    assert [(one.outcome, one.reason) for one in found.tasks[0].failures] == [
        ("diverged at step 7", "the loss became infinite or NaN"),
        ("failed", "RuntimeError: a planted crash"),
        ("missing", "never started, or its status cannot be read"),
    ]


def test_runs_of_two_hosts_are_told_apart(tmp_path):
    joint = joined([source(tmp_path / "a"), source(tmp_path / "b", first_seed=2, host="other")])
    history = shown(joint).tasks[0].history
    assert (history.runs, history.sittings, history.resumed) == (8, 8, 0)
    assert history.differences == ("host: planted-host (4), other (4)",)
    assert "**not the same in all runs:** host" in to_markdown(shown(joint))


def test_the_table_in_latex_is_escaped_and_whole(suites):
    found = shown(read_source(suites[0]))
    task = found.tasks[0]
    strange = replace(task.rows[0], variant=r"[100%] & \a_b #1 {x} ~ ^ $ <>")
    text = to_latex(replace(found, tasks=(replace(task, rows=(strange, *task.rows[1:])),)))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.DOTALL)[1]
    columns = re.search(r"\\begin{tabular}{(\w+)}", text)[1]
    for line in body.strip().splitlines():
        cells = re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\"))
        assert len(cells) == len(columns)
        assert all(cell.strip() for cell in cells)
    assert text.count(r"\textbf{") == sum(row.rank == 1 for row in task.rows)
    assert r"{[}100\%] \& \textbackslash{}a\_b \#1 \{x\}" in text
    assert escaped("plain") == "plain"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "--merge"), "--merge: needs two folders or more"),
        (("a", "b", "-o", "x"), "--output: of several reports"),
        (("a", "b", "--json"), "--json: several folders need --merge"),
        (("a", "a", "--merge"), "given twice"),
        (("a", "--against", "nowhere"), "nowhere: no suite was run there"),
    ],
)
def test_what_cannot_be_reported_on_is_one_line(arguments, says, tmp_path, monkeypatch, ssmbench):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "suite.json").write_text('{"name": "s", "cells": []}')
    monkeypatch.chdir(tmp_path)
    answer = ssmbench("report", *arguments)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_the_verb_joins_and_compares(suites, tmp_path, ssmbench):
    answer = ssmbench("report", *suites, "--merge", "-o", tmp_path / "joint")
    assert answer.code == 0, answer.err
    assert (tmp_path / "joint" / "report.md").exists()
    answer = ssmbench("report", suites[0], "--against", suites[1], "-o", tmp_path / "other")
    assert answer.code == 0, answer.err
    assert "against b" in answer.out
    assert "only in a: 3 runs" in answer.out
