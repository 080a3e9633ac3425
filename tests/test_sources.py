"""The source code of plugins as a part of what a run is."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from ssmbench import registry
from ssmbench.config import (
    SCHEMA_VERSION,
    changed_sources,
    check_sources,
    earlier_sources,
    fingerprint,
    load_run,
    resolve,
    without_sources,
)
from ssmbench.config.schema import ModelConfig
from ssmbench.errors import UsageError
from ssmbench.options import added, option
from ssmbench.registry import KINDS, loaded_plugins, nonlinearities, source_digest
from ssmbench.runs.folder import RunFolder
from ssmbench.yamlio import dump_yaml

PLUGIN = '''
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities


@nonlinearities.register("planted")
class Planted(Nonlinearity):
    """A planted nonlinearity."""

    lipschitz = 1.0

    def forward(self, x):
        return 0.5 * x
'''
EDITED = PLUGIN.replace("0.5 * x", "0.25 * x")
USES_PLUGIN = {"model": {"nonlinearity": "planted"}}


# --- fingerprints of earlier versions -----------------------------------------------------------

#: Computed before runs recorded their plugins' code.
BEFORE = {"digits_s4d": "da6979e27c94", "digits_certified": "17ff14605bf6"}


@pytest.mark.parametrize("name", BEFORE)
def test_runs_of_builtins_keep_their_fingerprints(name, root, workplace):
    (found,) = root.rglob(f"configs/runs/{name}.yaml")
    assert fingerprint(load_run(found)) == BEFORE[name]


def test_a_run_of_other_builtins_keeps_its_fingerprint(workplace):
    config = resolve({"model": {"parametrization": "l2ru"}, "optimizer": "sgd", "seed": 3})
    assert config["sources"] == {}
    assert fingerprint(config) == "4cbadbc5e03b"


def test_an_option_added_to_the_schema_counts_unless_it_is_the_default(monkeypatch, workplace):
    config = resolve({})
    later = {"later": (SCHEMA_VERSION, None), "earlier": (SCHEMA_VERSION - 1, None)}
    monkeypatch.setattr(
        "ssmbench.config.identity.added", lambda schema: later if schema is ModelConfig else {}
    )

    def with_model(**options: object) -> str:
        return fingerprint(config | {"model": config["model"] | options})

    assert with_model(later=None) == fingerprint(config)
    assert with_model(later="other") != fingerprint(config)
    assert with_model(earlier=None) != fingerprint(config)


def test_what_was_added_is_declared_with_the_option():
    @dataclass
    class Config:
        old: int = option(1)
        new: int = option(2, added=SCHEMA_VERSION)

    assert added(Config) == {"new": (SCHEMA_VERSION, 2)}


# --- entries ------------------------------------------------------------------------------------


def test_builtins_are_known_by_their_version_and_plugins_by_their_source(write):
    file = write("plugins/mine.py", PLUGIN)
    planted = nonlinearities.get("planted")
    assert (planted.builtin, planted.package, planted.version) == (False, "", "")
    assert planted.source_digest == source_digest(str(file), "")
    package = Path(registry.__file__).parents[1]
    builtins = [e for kind in KINDS.values() for e in kind if e.origin.startswith(str(package))]
    assert {(e.builtin, e.package, e.source_digest) for e in builtins} == {(True, "ssmbench", "")}


def test_the_digest_is_that_of_the_code_that_was_imported(write):
    file = write("plugins/mine.py", PLUGIN)
    before = nonlinearities.get("planted").source_digest
    file.write_text(EDITED)
    assert nonlinearities.get("planted").source_digest == before != source_digest(str(file), "")


def test_the_digest_of_a_package_is_of_all_its_sources(tmp_path, monkeypatch):
    package = tmp_path / "planted_sources_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "mine.py", "inner/__init__.py", "inner/helper.py", "kernel.cu"):
        (package / name).write_text("")
    (package / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("planted_sources_package.mine")

    def digest() -> str:
        return source_digest(str(package / "mine.py"), "planted_sources_package.mine")

    seen = {digest()}
    for name in ("mine.py", "inner/helper.py", "kernel.cu"):
        (package / name).write_text("1")
        seen.add(digest())
    assert len(seen) == 4
    (package / "notes.txt").write_text("1")
    assert digest() in seen


IN_A_CELL = """
import sys
from ssmbench.registry import source_digest
def cell(text):
    space = {"__name__": "__main__"}
    exec(compile(text, "<no file>", "exec"), space)
    return source_digest("<no file>", "no_such_module", space["Mine"])
text = "class Mine:\\n    gain = 1.0\\n    def f(self, x):\\n        return x in {'a', 'b', 'c'}\\n"
print(cell(text), cell(text), cell(text.replace("'b'", "'d'")), cell(text.replace("1.0", "2.0")))
"""


def test_the_digest_of_code_without_a_file_is_that_of_what_was_compiled():
    runs = [
        subprocess.run(
            [sys.executable, "-c", IN_A_CELL], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs[0] == runs[1], "the order of sets differs from process to process"
    same, again, other_code, other_value = runs[0]
    assert same == again
    assert len({same, other_code, other_value}) == 3


def test_the_plugins_that_were_loaded_are_listed_with_their_digests(write):
    good = write("plugins/mine.py", PLUGIN)
    write("plugins/broken.py", "raise ValueError")
    nonlinearities.names()
    (found,) = loaded_plugins()
    assert (found.name, found.file, found.version) == ("mine", str(good), "")
    assert found.digest == nonlinearities.get("planted").source_digest


# --- runs ---------------------------------------------------------------------------------------


def as_in_a_new_process(config: dict) -> dict:
    with registry.isolated(rediscover=True):
        return resolve(config)


def test_an_edited_plugin_gives_its_runs_another_fingerprint(write):
    write("plugins/mine.py", PLUGIN)
    before = as_in_a_new_process(USES_PLUGIN)
    assert set(before["sources"]) == {"model.nonlinearity"}
    assert as_in_a_new_process(before) == before
    write("plugins/mine.py", EDITED)
    after = as_in_a_new_process(before)
    assert without_sources(after) == without_sources(before)
    assert fingerprint(after) != fingerprint(before)
    assert as_in_a_new_process({}) == resolve({}), "runs that do not use it are as before"


def test_a_changed_plugin_is_named_where_its_stored_config_is_read(write):
    file = write("plugins/mine.py", PLUGIN)
    stored = as_in_a_new_process(USES_PLUGIN)
    with registry.isolated(rediscover=True):
        assert changed_sources(stored) == []
        assert changed_sources(without_sources(stored)) == []
    write("plugins/mine.py", EDITED)
    with registry.isolated(rediscover=True):
        (change,) = changed_sources(stored)
        assert change.startswith(f"{file} changed since this run")
        with pytest.raises(UsageError, match="changed since this run"):
            check_sources(stored)
        check_sources(resolve(stored))
    file.unlink()
    with registry.isolated(rediscover=True):
        assert changed_sources(stored) == [
            "model.nonlinearity: the plugin that this run used is not found"
        ]


def test_runs_of_the_same_config_with_other_code_are_found(write, tmp_path):
    outputs = tmp_path / "runs"

    def run(text: str, config: dict) -> Path:
        write("plugins/mine.py", text)
        resolved = as_in_a_new_process(config)
        folder = outputs / fingerprint(resolved)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(dump_yaml(resolved))
        return folder

    run(PLUGIN, USES_PLUGIN | {"seed": 1})
    run(PLUGIN, {})
    first, second = run(PLUGIN, USES_PLUGIN), run(EDITED, USES_PLUGIN)
    config = as_in_a_new_process(USES_PLUGIN)
    assert earlier_sources(outputs, config) == [first]
    unrecorded = outputs / fingerprint(without_sources(config))
    unrecorded.mkdir()
    assert earlier_sources(outputs, config) == sorted([first, unrecorded])
    assert second not in earlier_sources(outputs, config)
    assert earlier_sources(outputs, resolve({})) == []


def test_the_result_of_an_edited_plugin_is_not_shown_again(write, tiny, ssmbench):
    write("plugins/mine.py", PLUGIN)
    tiny["model"]["nonlinearity"] = "planted"
    write("run.yaml", tiny)

    def run() -> tuple[set[Path], str]:
        before = set(Path("outputs").rglob("result.json"))
        with registry.isolated(rediscover=True):
            answer = ssmbench("run", "run.yaml", "--output", "outputs")
        assert answer.code == 0, answer.err
        return set(Path("outputs").rglob("result.json")) - before, answer.err

    (first,), said = run()
    assert "plugin code" not in said
    assert run()[0] == set(), "complete already"
    write("plugins/mine.py", EDITED)
    (second,), said = run()
    assert RunFolder(second.parent).is_complete
    assert f"{first.parent}: same config, but different plugin code" in said


def test_a_suite_says_once_that_plugins_were_edited(write, tiny_suite, ssmbench):
    tiny_suite["base"]["model"]["nonlinearity"] = "planted"
    write("plugins/mine.py", PLUGIN)
    write("suite.yaml", tiny_suite)

    def run() -> str:
        with registry.isolated(rediscover=True):
            answer = ssmbench("suite", "suite.yaml", "--output", "out", "--launcher", "inline")
        assert answer.code == 0, answer.err
        return answer.err

    assert "plugin code" not in run()
    write("plugins/mine.py", EDITED)
    said = run()
    assert said.count("earlier results with different plugin code") == 1
    assert said.count("plugin code") == 1
    assert "2 of 2 runs" in said
    assert "plugin code" not in run()


def test_a_network_whose_plugin_changed_is_loaded_with_a_warning(write, tiny):
    from ssmbench.runs.execute import execute
    from ssmbench.runs.load import load_trained
    from ssmbench.runs.run import Run

    write("plugins/mine.py", PLUGIN)
    tiny["model"]["nonlinearity"] = "planted"
    with registry.isolated(rediscover=True):
        config = resolve(tiny)
        execute(Run.of(config, Path("outputs")))
    folder = Path("outputs") / fingerprint(config)
    with warnings.catch_warnings(), registry.isolated(rediscover=True):
        warnings.filterwarnings("error", message=".*changed since")
        load_trained(folder)
    write("plugins/mine.py", EDITED)
    with (
        registry.isolated(rediscover=True),
        pytest.warns(UserWarning, match="changed since this run"),
    ):
        load_trained(folder)
