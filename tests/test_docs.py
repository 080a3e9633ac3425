"""README.md and docs: what they mention exists, and what they list is what the code has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import ssmbench
from tests.tools import load_tool

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/*.md"))
MAX_LINES_OF_THE_README = 150


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# --- links and paths ----------------------------------------------------------------------------


def links(markdown: str) -> set[str]:
    """Targets of relative links, anchors included."""
    outside_code = re.sub(r"```.*?```|`[^`\n]+`", "", markdown, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", outside_code)
    return {link for link in found if not re.match(r"[a-z]+:", link)}


def paths_in_code(markdown: str) -> set[str]:
    """Words of code that begin with the name of a folder of the checkout."""
    code = re.findall(r"```.*?\n(.*?)```", markdown, re.DOTALL)
    code += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"outputs"}
    found = set()
    for word in " ".join(code).split():
        path = word.strip("'\"(),;:.").removeprefix("./")
        if "/" in path and path.partition("/")[0] in tops and re.fullmatch(r"[\w./*-]+", path):
            found.add(path)
    return found


def written_by_new(markdown: str) -> set[str]:
    """The files that a reader has who did what the page says about ``ssmbench new``."""
    names = re.findall(r"ssmbench new \w+ (\w+)", markdown)
    return {f"plugins/{file}" for n in names for file in (f"{n}.py", f"{n}.yaml", f"test_{n}.py")}


def anchors(markdown: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    file = page.parent / target if target else page
    if not file.exists():
        return True
    return bool(anchor) and anchor not in anchors(file.read_text())


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_and_path_exists(page):
    text = page.read_text()
    assert [link for link in sorted(links(text)) if broken(page, link)] == []
    paths = sorted(paths_in_code(text) - written_by_new(text))
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_links_and_paths_are_found_in_markdown():
    page = (
        "[a](docs/a.png) [b](https://example.org/b) [c](#c) `ssmbench list` `tools/quickstart`\n"
        "```bash\nssmbench run configs/runs/x.yaml seed=1  # `outputs/runs/y`\n```\n"
    )
    assert links(page) == {"docs/a.png", "#c"}
    assert paths_in_code(page) == {"tools/quickstart", "configs/runs/x.yaml"}


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two: three\n")
    assert not broken(page, "#one-two-three")
    assert broken(page, "#four")
    assert broken(page, "missing.md")


# --- what pages list ----------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < MAX_LINES_OF_THE_README


def test_the_readme_has_every_page_in_its_map():
    pages = {page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md")}
    assert pages <= links((ROOT / "README.md").read_text())


def test_the_tables_are_those_of_the_committed_figures():
    tables = load_tool("doc_tables")
    for page, name, text in tables.tables():
        assert f"<!-- {name}: written by" in page.read_text()
        assert page.read_text() == tables.replaced(page, name, text)


def test_the_configuration_reference_is_up_to_date():
    reference = load_tool("config_reference")
    assert reference.PAGE.read_text() == reference.page(), "run tools/config_reference.py"


def test_the_layers_are_those_of_the_import_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["type"] == "layers")
    _, _, section = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Layers\n")
    rows = re.findall(r"^\| (`.+?) \|", section.partition("\n## ")[0], re.MULTILINE)
    documented = [set(re.findall(r"`([\w.]+)`", row)) for row in rows]
    assert documented == [set(layer.split(" | ")) for layer in contract["layers"]]


def test_the_library_page_has_every_public_name():
    page = (ROOT / "docs" / "library.md").read_text()
    named = set(re.findall(r"`@?sb\.(\w+)", page))
    assert named >= {*ssmbench.__all__, "list"}


def test_the_example_of_the_library_page_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["y"].shape == (1, 100, 16)
    assert names["run"].state == "finished"
    assert "H-infinity" in capsys.readouterr().out


# --- faults -------------------------------------------------------------------------------------


def missing_tests(markdown: str) -> list[str]:
    """Tests that a page names as ``file::name`` and that do not exist."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", markdown)
    return [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"\ndef {name}(" not in (ROOT / file).read_text()
    ]


def test_each_fault_has_a_test():
    text = (ROOT / "docs/faults.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ") and "---" not in row]
    faults = [row for row in rows if not row.startswith("| fault |")]
    assert missing_tests(text) == []
    assert all("`tests/" in row or "the same test" in row for row in faults)
    assert missing_tests("`tests/test_docs.py::test_nothing`") != []
