"""tools/loader_timing.py measures what it says; no figure is checked here."""

from __future__ import annotations

from tests.tools import load_tool


def test_a_task_is_timed_with_and_without_augmentation():
    tool = load_tool("loader_timing")
    rows = [tool.timed("digits", augment, rounds=1) for augment in ([], ["noise", "crop"])]
    assert [row.task for row in rows] == ["digits", "digits (augmented)"]
    assert all(row.longest == 64 and row.step > 0 for row in rows)
    assert len(tool.table(rows).splitlines()) == 2 + 2 + 2
    assert "digits" in tool.table(rows)


def test_a_task_without_its_files_is_timed_in_its_small_form(monkeypatch):
    monkeypatch.delenv("SSMBENCH_DATA", raising=False)
    assert load_tool("loader_timing").timed("watch", [], rounds=1).data == "tiny"
