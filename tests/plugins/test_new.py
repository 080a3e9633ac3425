"""``ssmbench new``: what it writes works at once, for every kind, and nothing is overwritten."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbench as sb
from ssmbench import registry
from ssmbench.config import load_run
from ssmbench.library.templates import FOLDER, template

ROOT = Path(__file__).parents[2]
KINDS = sorted(registry.KINDS)


@pytest.fixture
def written(workplace) -> Path:
    """The folder ./plugins with a new plugin of every kind, called ``my_KIND``."""
    for kind in KINDS:
        sb.new(kind, f"my_{kind}")
    return workplace / registry.PLUGINS_FOLDER


@pytest.mark.slow
def test_the_tests_that_it_writes_pass(written):
    """Every check of every kind, and a run of each config, in one process."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "plugins"],
        cwd=written.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert f"{2 * len(KINDS)} passed" in found.stdout


def test_what_it_writes_is_found_and_named_by_its_config(written):
    for kind in KINDS:
        name = f"my_{kind}"
        entry = registry.get_kind(kind).get(name)
        assert Path(entry.origin.rpartition(":")[0]) == written / f"{name}.py"
        assert entry.summary
        if registry.KINDS[kind].places:
            config = load_run(written / f"{name}.yaml")
            assert f'"name": "{name}"' in json.dumps(config)
    assert registry.plugin_failures() == []


def test_what_it_writes_has_nothing_left_of_the_example(written):
    for kind in KINDS:
        example, config = template(kind).example, written / f"my_{kind}.yaml"
        tree = ast.parse((written / f"my_{kind}.py").read_text())
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert example not in strings
        texts = [(written / f"test_my_{kind}.py").read_text()]
        texts += [config.read_text()] if config.exists() else []
        assert not any(re.search(rf"\b{example}\b", text) for text in texts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_template_and_each_that_configs_name_a_config(kind):
    files = template(kind)
    assert f'register("{files.example}"' in files.plugin.replace("(\n    ", "(")
    named = registry.KINDS[kind].places or kind == "launcher"
    assert bool(files.config) == bool(named)


def test_there_is_no_template_without_a_kind():
    kinds = {file.stem.removeprefix("test_") for file in FOLDER.glob("*.*")}
    assert kinds - {"run"} == set(KINDS)


def test_the_command_line_says_what_it_wrote_and_what_comes_next(ssmbench, workplace):
    answer = ssmbench("new", "norms", "my_norm")
    assert answer.code == 0, answer.err
    files = "wrote plugins/my_norm.py, plugins/my_norm.yaml, plugins/test_my_norm.py"
    assert answer.out.splitlines() == [
        files,
        "next:",
        "  ssmbench check norm my_norm",
        "  pytest plugins/test_my_norm.py",
        "  ssmbench run plugins/my_norm.yaml",
    ]


def test_elsewhere_the_commands_name_the_file(ssmbench, workplace):
    made = json.loads(ssmbench("new", "norm", "my_norm", "-o", "deep/er", "--json").out)
    assert made["files"][0] == "deep/er/my_norm.py"
    assert made["commands"][0] == "ssmbench check norm my_norm --plugins deep/er/my_norm.py"
    assert ssmbench(*made["commands"][0].split()[1:]).code == 0


@pytest.mark.parametrize("name", ["my_norm.py", "my_norm.yaml", "test_my_norm.py"])
def test_nothing_is_overwritten(name, ssmbench, write):
    kept = write(f"plugins/{name}", "# mine\n")
    answer = ssmbench("new", "norm", "my_norm")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == f"error: plugins/{name}: exists, and is not overwritten"
    assert [file.name for file in kept.parent.glob("*.*")] == [name]
    assert kept.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("parametrization", "s4d", r"parametrization 's4d' exists: .*s4d\.py:\d+"),
        ("norm", "My-Norm", "small letters, digits and underscores; did you mean 'my_norm'"),
        ("norm", "../x", "did you mean 'x'"),
        ("norm", "9", "a name is a small letter followed by"),
        ("norm", "torch", "a Python module of this name is installed"),
        ("norm", "tensor", "the file uses the word Tensor for something else"),
        ("norm", "test_x", "files called test_"),
        ("optimizer", "lambda", "a meaning in Python or in YAML"),
        ("norm", "yes", "a meaning in Python or in YAML"),
        ("nrm", "x", "did you mean 'norm'"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_in_one_line(kind, name, says, ssmbench, workplace):
    answer = ssmbench("new", kind, name)
    assert answer.code == 2
    assert re.search(says, answer.err.splitlines()[-1]), answer.err
    assert list(workplace.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(ssmbench, write):
    write("plugins", "a file")
    answer = ssmbench("new", "norm", "my_norm")
    assert answer.code == 2
    assert "plugins: exists" in answer.err.splitlines()[-1]
