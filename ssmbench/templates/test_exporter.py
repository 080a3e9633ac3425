"""Tests of the exporter json_text, for pytest."""

from pathlib import Path

import ssmbench as sb
from ssmbench.exporters.base import Exporter
from ssmbench.registry import add_plugin_paths, exporters

HERE = Path(__file__).parent
add_plugin_paths([HERE / "json_text.py"])


def test_it_passes_every_check():
    report = sb.check("exporter", "json_text")
    assert report.ok, report


def test_it_writes_one_file_of_text():
    exporter = exporters.get("json_text").build()
    assert isinstance(exporter, Exporter)
    assert exporter.endings == (".json",)
