"""Tests of the launcher smallest_first, for pytest."""

from pathlib import Path

import ssmbench as sb
from ssmbench.registry import add_plugin_paths

HERE = Path(__file__).parent
add_plugin_paths([HERE / "smallest_first.py"])


def test_it_passes_every_check():
    report = sb.check("launcher", "smallest_first")
    assert report.ok, report


def test_its_suite_can_be_executed(tmp_path):
    plan = sb.plan_runs(HERE / "smallest_first.yaml", output=tmp_path)
    assert plan.counts == {"missing": 4}
