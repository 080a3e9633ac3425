"""Tests of the exporter json_text, for pytest."""

from pathlib import Path

import ssmbench as sb
from ssmbench.registry import add_plugin_paths

HERE = Path(__file__).parent
add_plugin_paths([HERE / "json_text.py"])


def test_it_passes_every_check():
    report = sb.check("exporter", "json_text")
    assert report.ok, report
