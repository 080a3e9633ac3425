"""What holds for the whole repository, whichever part one works on."""

from __future__ import annotations

import ast
import graphlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES_OF_A_FUNCTION = 70
MAX_LINES_OF_A_FILE = 600

#: A place on somebody's machine: the folder of a user or of a workspace.
SOMEBODYS_FOLDER = re.compile(r"/(?:home|root|Users|work|workspace)/[A-Za-z0-9_.-]+")


def committed() -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: what is committed is not known")
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def run_tool(name: str, *arguments: str) -> None:
    tool = Path(sys.executable).parent / name
    if not tool.exists():
        pytest.skip(f"{name} is not installed beside this Python")
    done = subprocess.run(
        [str(tool), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def python_files() -> list[Path]:
    folders = ("ssmbench", "plugins", "tests", "tools")
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


# --- style and layers ---------------------------------------------------------------------------


def test_imports_run_one_way():
    run_tool("lint-imports", "--no-cache")


def import_circle(package: str) -> list[str]:
    """Modules that import each other in a circle, imports within functions included; or none."""
    grimp = pytest.importorskip("grimp", reason="grimp, which import-linter brings, is missing")
    graph = grimp.build_graph(package, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imported).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_import_circle():
    assert import_circle("ssmbench") == []


def test_an_import_circle_is_found_within_functions(tmp_path, monkeypatch):
    package = tmp_path / "circular_for_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("from circular_for_tests.two import f\n")
    (package / "two.py").write_text("def f():\n    import circular_for_tests.one\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(import_circle("circular_for_tests")) == {
        "circular_for_tests.one",
        "circular_for_tests.two",
    }


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_style(arguments):
    run_tool("ruff", *arguments, "setup.py", "ssmbench", "plugins", "tests", "tools")


@pytest.mark.slow
def test_types():
    run_tool("basedpyright", "--pythonpath", sys.executable)


def test_functions_and_files_stay_short():
    long = []
    for file in python_files():
        text = file.read_text()
        name = file.relative_to(ROOT)
        if (lines := text.count("\n")) > MAX_LINES_OF_A_FILE:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                kernel = node.name.endswith("_kernel")  # a GPU kernel cannot be cut in pieces
                if length > MAX_LINES_OF_A_FUNCTION and not kernel:
                    long.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert long == []


# --- what the command line imports --------------------------------------------------------------

HEAVY = (
    "torch",
    "lightning",
    "torchmetrics",
    "matplotlib",
    "numpy",
    "scipy",
    "sklearn",
    "omegaconf",
    "optuna",
)

LOADED = f"""
import sys
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.__stderr__)
"""


def heavy_modules_after(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED], capture_output=True, text=True, check=True
    )
    return done.stderr.split()


def test_importing_the_command_line_imports_nothing_heavy():
    assert heavy_modules_after("import ssmbench.cli") == []


@pytest.mark.parametrize(
    "code",
    [
        "from ssmbench import registry; registry.tasks.load_builtins()",
        "from ssmbench.library import data; data.all_data()",
        "import ssmbench.build.check, ssmbench.build.task",
    ],
)
def test_a_task_is_described_without_what_trains(code):
    """Lightning and torchmetrics take longer to import than all else together."""
    assert not {"lightning", "torchmetrics"} & set(heavy_modules_after(code))


def test_the_probe_sees_heavy_imports():
    assert heavy_modules_after("import numpy") == ["numpy"]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["suite", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
from ssmbench import cli
sys.argv = ["ssmbench", *{arguments!r}]
try:
    cli.main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
"""
    assert heavy_modules_after(code) == []


# --- what is committed --------------------------------------------------------------------------


def test_no_committed_file_names_a_folder_of_somebodys_machine():
    found = []
    for file in committed():
        try:
            text = file.read_text()
        except UnicodeDecodeError:  # pictures
            continue
        found += [f"{file.relative_to(ROOT)}: {m[0]}" for m in SOMEBODYS_FOLDER.finditer(text)]
    assert found == []


def test_the_search_for_somebodys_folder_finds_one():
    assert SOMEBODYS_FOLDER.search("cd " + "/".join(["", "home", "ada", "code"]))
    assert not SOMEBODYS_FOLDER.search("https://example.org/networks")
