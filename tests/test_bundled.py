"""The bundled configs: found by name from a checkout and from an installed package alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssmbench.bundled import bundled_configs, config_file
from ssmbench.errors import UsageError
from ssmbench.library.templates import FOLDER

ROOT = Path(__file__).parents[1]


def test_a_name_is_a_bundled_config_with_or_without_its_suffix():
    expected = ROOT / "configs" / "suites" / "quickstart.yaml"
    assert config_file("quickstart", "suites") == expected
    assert config_file("quickstart.yaml", "suites") == expected


def test_an_existing_file_wins_over_a_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "quickstart"
    mine.write_text("name: mine\n")
    assert config_file("quickstart", "suites") == mine
    assert config_file(tmp_path / "quickstart", "suites") == mine


@pytest.mark.parametrize("given", ["quikstart", "configs/suites/quikstart.yaml"])
def test_an_unknown_name_gets_the_nearest(given):
    with pytest.raises(UsageError, match=r"no such file.*did you mean 'quickstart'"):
        config_file(given, "suites")


def test_a_suite_is_not_a_run():
    with pytest.raises(UsageError, match=r"known: .*digits_s4d"):
        config_file("quickstart", "runs")


def test_a_folder_is_not_a_config(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        config_file(tmp_path, "suites")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package as a wheel holds it, without the C kernels, which take longer to build."""
    folder = tmp_path_factory.mktemp("installed")
    # Outside the checkout, and not as an editable installation.
    build = ["egg_info", f"--egg-base={folder}", "build_py", f"--build-lib={folder / 'lib'}"]
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", *build], cwd=ROOT, check=True, capture_output=True
    )
    return folder / "lib"


def run_installed(installed: Path, empty: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_package_carries_every_config(installed, tmp_path):
    code = """
import ssmbench.bundled as bundled
for kind in ("runs", "suites"):
    for file in bundled.bundled_configs(kind).values():
        print(file)
"""
    found = [Path(line) for line in run_installed(installed, tmp_path, "-c", code).splitlines()]
    assert all(file.is_relative_to(installed / "ssmbench" / "configs") for file in found)
    wanted = [file for kind in ("runs", "suites") for file in bundled_configs(kind).values()]
    assert [file.read_text() for file in found] == [file.read_text() for file in wanted]
    assert (installed / "ssmbench" / "py.typed").exists()
    templates = [file.name for file in FOLDER.iterdir() if file.is_file()]
    assert all((installed / "ssmbench" / "templates" / name).exists() for name in templates)


def test_an_installed_package_carries_what_the_page_of_a_report_is_made_of(installed):
    assets = Path("ssmbench", "report", "html", "assets")
    names = {file.name for file in (ROOT / assets).iterdir()}
    assert {file.name for file in (installed / assets).iterdir()} == names
    assert "page.html" in names


def test_a_bundled_suite_and_run_are_found_in_an_empty_folder(installed, tmp_path):
    quickstart = ["-m", "ssmbench", "suite", "quickstart", "--dry-run"]
    assert "40 runs" in run_installed(installed, tmp_path, *quickstart)
    resolved = run_installed(
        installed, tmp_path, "-m", "ssmbench", "run", "digits_s4d", "--dry-run"
    )
    assert "parametrization:" in resolved
    assert list(tmp_path.iterdir()) == []
