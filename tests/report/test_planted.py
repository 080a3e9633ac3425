"""The generated suites are what the program takes for real ones."""

from __future__ import annotations

from ssmbench.report.collect import collect
from ssmbench.report.contents import About, contents
from tests.report.planted import planted_suite


def test_a_planted_suite_is_read_as_one_that_was_run(tmp_path):
    root = planted_suite(tmp_path, tasks=2, variants=3, seeds=3)
    records = collect(root)
    assert len(records) == 18
    states = [record.state for record in records if record.variant == "V2"]
    assert states == ["diverged", "failed", "missing"] * 2
    assert {record.state for record in records if record.variant != "V2"} == {"finished"}
    (reason,) = {record.reason for record in records if record.state == "failed"}
    assert reason == "RuntimeError: a planted crash"
    shown = contents(records, About("planted"))
    assert [task.rows[0].variant for task in shown.tasks] == ["V0", "V0"]


def test_the_same_arguments_give_the_same_results(tmp_path):
    one, other = (planted_suite(tmp_path / name, 1, 2, 2) for name in "ab")
    assert collect(one) == collect(other)
