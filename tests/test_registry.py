"""The registry: what it records, how plugins are found, and what it says when something is off."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.registry import Registry, add_plugin_paths, nonlinearities, plugin_failures

PLUGIN = '''
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities


@nonlinearities.register("{name}")
class Planted(Nonlinearity):
    """A planted nonlinearity."""

    lipschitz = 1.0

    def forward(self, x):
        return x
'''

REGISTRATION = """
@things.register("thing")
class Thing:
    pass
"""


@pytest.fixture
def things(workplace) -> Registry:
    return Registry("thing", "ssmbench.discretizers")


def run_code(source: str, things: Registry, module: str, file: str = "cell") -> None:
    exec(compile(source, file, "exec"), {"things": things, "__name__": module})


def python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    plain = {k: v for k, v in os.environ.items() if k != registry.PLUGINS_VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )


# --- entries ------------------------------------------------------------------------------------


def test_an_entry_records_its_place_its_citation_and_its_docstring(things):
    @things.register("one", citation="Someone 2025")
    class One:
        """First line.

        Second paragraph.
        """

    entry = things.get("one")
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if '@things.register("one"' in text
    )
    assert entry.origin == f"{__file__}:{line}"
    assert (entry.factory, entry.citation, entry.summary) == (One, "Someone 2025", "First line.")


def test_a_given_summary_wins_over_the_docstring(things):
    @things.register("one", summary="given")
    class One:
        """First line."""

    assert things.get("one").summary == "given"


def test_the_decorated_class_is_left_as_it_is(things):
    class One:
        pass

    assert things.register("one")(One) is One


def test_build_passes_the_default_config_and_the_context(things):
    @things.register("one")
    def make(config, *, d_model):
        return type(config), d_model

    assert things.get("one").build(d_model=3) == (registry.NoOptions, 3)


def test_every_builtin_of_every_kind_says_where_it_is_and_what_it_is(workplace):
    for kind in registry.KINDS.values():
        assert list(kind), kind.kind
        for entry in kind:
            file, _, line = entry.origin.rpartition(":")
            assert "register" in Path(file).read_text().splitlines()[int(line) - 1]
            assert entry.summary or kind.kind == "scan"


# --- duplicates ---------------------------------------------------------------------------------


def test_a_second_definition_of_a_name_is_refused_with_both_places(things):
    run_code(REGISTRATION, things, "first", "first.py")
    with pytest.raises(UsageError, match=r"'thing'.* first\.py:2 and second\.py:2"):
        run_code(REGISTRATION, things, "second", "second.py")
    assert things.get("thing").origin == "first.py:2"


def test_two_definitions_in_one_file_are_refused(things):
    with pytest.raises(UsageError, match=r"cell:2 and cell:6"):
        run_code(REGISTRATION + REGISTRATION, things, "plugin")


def test_running_the_same_code_again_replaces_the_entry(things):
    run_code(REGISTRATION, things, "plugin")
    first = things.get("thing").factory
    run_code(REGISTRATION, things, "plugin")
    assert things.get("thing").factory is not first


def test_an_edited_notebook_cell_replaces_the_entry(things):
    run_code(REGISTRATION, things, "__main__", "<cell 1>")
    run_code("\n\n" + REGISTRATION, things, "__main__", "<cell 2>")
    assert things.get("thing").origin == "<cell 2>:4"


def test_reloading_a_module_replaces_its_entries(write, monkeypatch):
    folder = write("importable/planted_module.py", PLUGIN.format(name="planted")).parent
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("planted_module")
    importlib.reload(module)
    assert nonlinearities.get("planted").factory is module.Planted


def test_importing_an_edited_plugin_file_replaces_its_entries(write):
    file = write("mine.py", PLUGIN.format(name="planted"))
    registry.import_file(file)
    before = nonlinearities.get("planted")
    write("mine.py", "\n\n" + PLUGIN.format(name="planted"))
    registry.import_file(file)
    after = nonlinearities.get("planted")
    assert after.factory is not before.factory
    assert after.source_digest != before.source_digest


def test_two_definitions_in_an_edited_plugin_file_are_refused(write):
    file = write("mine.py", PLUGIN.format(name="planted"))
    registry.import_file(file)
    write("mine.py", "\n" + PLUGIN.format(name="planted") + PLUGIN.format(name="planted"))
    with pytest.raises(UsageError, match="defined twice"):
        registry.import_file(file)


def test_a_description_says_which_version_of_the_code_an_entry_is(write):
    write("plugins/mine.py", PLUGIN.format(name="planted"))
    mine, builtin = nonlinearities.get("planted"), nonlinearities.get("gelu")
    assert registry.describe(mine)["code"] == f"sha256 {mine.source_digest}"
    assert registry.describe(builtin)["code"] == f"ssmbench {builtin.version}"


def test_a_failed_import_of_the_builtins_is_reported_every_time(workplace):
    broken = Registry("thing", "ssmbench.no_such_package")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            broken.load_builtins()


# --- unknown names ------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_nearest_ones(workplace):
    with pytest.raises(UsageError, match=r"unknown nonlinearity 'geluu': did you mean 'gelu'"):
        nonlinearities.get("geluu")


def test_a_name_with_no_near_one_is_answered_with_all(workplace):
    with pytest.raises(UsageError, match=r"known: cayley, gelu, gelu_tanh, glu"):
        nonlinearities.get("qqqqqqqq")


def test_an_unknown_name_tells_which_plugins_failed_and_why(write):
    broken = write("plugins/broken.py", "raise ValueError('first line\\nlast line')")
    with pytest.raises(UsageError) as error:
        nonlinearities.get("planted")
    assert str(broken) in str(error.value)
    assert "ValueError: last line" in str(error.value)


def test_an_unknown_kind_is_answered_with_the_nearest_one(workplace):
    with pytest.raises(UsageError, match="did you mean 'task'"):
        registry.get_kind("tassk")


@pytest.mark.parametrize("kind", registry.KINDS.values(), ids=registry.KINDS)
def test_a_kind_is_known_in_singular_and_plural(kind):
    assert registry.get_kind(kind.kind) is registry.get_kind(kind.plural) is kind
    assert getattr(registry, kind.plural) is kind


def test_one_declaration_makes_a_kind(tmp_path):
    """Its plural, its place in the run config and its default follow."""
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "__init__.py").write_text("")
    (tmp_path / "boxes" / "base.py").write_text("class Window:\n    pass\n")
    (tmp_path / "boxes" / "box.py").write_text(
        "from boxes.base import Window\nfrom ssmbench import registry\n\n\n"
        "@registry.KINDS['window'].register('box')\nclass Box(Window):\n    pass\n"
    )
    code = """
        from ssmbench.registry import Place, declare
        declare("window", "boxes", "boxes.base:Window", Place("model.window", "box"))
        from ssmbench.config import resolve
        from ssmbench.registry import get_kind
        print(get_kind("windows").names(), resolve({})["model"]["window"])
    """
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    said = python(code, tmp_path, PYTHONPATH=search).stdout.strip()
    assert said == "['box'] {'name': 'box'}"


def test_plurals_follow_the_rule_unless_they_are_declared():
    assert Registry("nonlinearity", "p").plural == "nonlinearities"
    assert Registry("scan", "p").plural == "scans"
    assert Registry("matrix", "p", plural="matrices").plural == "matrices"


# --- base classes -------------------------------------------------------------------------------


def imported(path: str) -> type:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def test_every_builtin_class_derives_from_the_base_of_its_kind(workplace):
    for kind in registry.KINDS.values():
        base = imported(kind.base)
        for entry in kind:
            assert not isinstance(entry.factory, type) or issubclass(entry.factory, base)


def test_a_class_of_another_base_is_refused_with_its_place_and_stops_no_other(write):
    source = PLUGIN.format(name="planted").replace("Planted(Nonlinearity)", "Planted")
    file = write("plugins/a_wrong.py", source)
    write("plugins/b_good.py", PLUGIN.format(name="good"))
    assert "good" in nonlinearities
    assert "planted" not in nonlinearities
    (failure,) = plugin_failures()
    assert failure.reason == (
        f"UsageError: nonlinearity 'planted' ({file}:6): the class Planted must derive from "
        "ssmbench.nn.nonlinearities.base.Nonlinearity"
    )


def test_the_base_class_is_checked_without_importing_it():
    code = """
        import sys
        from ssmbench.registry import tasks
        try:
            tasks.register("wrong")(object)
        except Exception as error:
            print(error)
        print("torch" in sys.modules)
    """
    said, heavy = python(code, Path.cwd()).stdout.splitlines()
    assert said.endswith("must derive from ssmbench.tasks.base.Task")
    assert heavy == "False"


# --- packages of built-ins ----------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """``package(name, files)`` makes a package that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return name

    return make


def entry_source(package: str, name: str) -> str:
    return f"from {package}.kind import things\nthings.register({name!r})(object)\n"


def test_entries_are_found_in_sub_packages_of_any_depth(package):
    name = "planted_package_of_things"
    kind = f"from ssmbench.registry import Registry\nthings = Registry('thing', {name!r})\n"
    package(
        name,
        {
            "__init__.py": "",
            "kind.py": kind,
            "one.py": entry_source(name, "one"),
            "inner/__init__.py": '"""A folder."""\n',
            "inner/two.py": entry_source(name, "two"),
            "inner/deep/__init__.py": "",
            "inner/deep/three.py": entry_source(name, "three"),
            "kernels/__init__.py": entry_source(name, "four"),
            "kernels/needs_a_compiler.py": "raise ImportError('no compiler')",
        },
    )
    things = importlib.import_module(f"{name}.kind").things
    assert things.names() == ["four", "one", "three", "two"]


# --- isolated -----------------------------------------------------------------------------------


def test_isolated_forgets_what_was_registered_and_found_within(write):
    before = {kind.kind: kind.names() for kind in registry.KINDS.values()}
    with registry.isolated():
        write("plugins/mine.py", PLUGIN.format(name="planted"))
        write("plugins/broken.py", "raise ValueError('broken')")
        assert "planted" in nonlinearities
        assert len(plugin_failures()) == 1
    (Path("plugins") / "mine.py").unlink()
    (Path("plugins") / "broken.py").unlink()
    assert {kind.kind: kind.names() for kind in registry.KINDS.values()} == before
    assert plugin_failures() == []


def test_isolated_keeps_what_was_found_before_unless_it_is_to_be_found_anew(write):
    file = write("plugins/mine.py", PLUGIN.format(name="planted"))
    first = nonlinearities.get("planted").factory
    with registry.isolated():
        assert nonlinearities.get("planted").factory is first
    with registry.isolated(rediscover=True):
        file.write_text(PLUGIN.format(name="planted"))
        assert nonlinearities.get("planted").factory is not first
    assert nonlinearities.get("planted").factory is first


def test_isolated_restores_after_an_error_too(workplace):
    before = nonlinearities.names()
    gelu = nonlinearities.get("gelu").factory

    def fail_within() -> None:
        with registry.isolated():
            nonlinearities.register("planted")(gelu)
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        fail_within()
    assert nonlinearities.names() == before


# --- plugins ------------------------------------------------------------------------------------


def test_files_in_the_plugins_folder_are_found(write):
    write("plugins/mine.py", PLUGIN.format(name="planted"))
    write("plugins/_private.py", "raise ValueError")
    assert "planted" in nonlinearities
    assert plugin_failures() == []


@pytest.mark.parametrize("given", ["elsewhere", "elsewhere/mine.py"])
def test_plugins_are_found_in_a_file_or_folder_that_is_named(given, write):
    write("elsewhere/mine.py", PLUGIN.format(name="planted"))
    assert "planted" not in nonlinearities
    add_plugin_paths([given])
    assert "planted" in nonlinearities


def test_named_plugins_are_found_from_any_folder_later_on(write, monkeypatch, tmp_path):
    write("elsewhere/mine.py", PLUGIN.format(name="planted"))
    add_plugin_paths(["elsewhere"])
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert "planted" in nonlinearities


def test_plugins_are_found_through_the_variable(write, monkeypatch):
    one = write("a/one.py", PLUGIN.format(name="planted_one"))
    two = write("b/two.py", PLUGIN.format(name="planted_two")).parent
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, f"{one}{os.pathsep}{two}")
    assert {"planted_one", "planted_two"} <= set(nonlinearities.names())


def test_a_file_that_is_named_twice_is_imported_once(write, monkeypatch):
    plugin = write("plugins/mine.py", PLUGIN.format(name="planted"))
    add_plugin_paths([plugin, plugin.parent])
    assert "planted" in nonlinearities
    assert plugin_failures() == []


@pytest.mark.parametrize("given", ["missing", "missing.py", "notes.txt"])
def test_a_plugin_path_that_cannot_be_used_is_refused(given, write):
    write("notes.txt", "")
    with pytest.raises(UsageError, match=given):
        add_plugin_paths([given])


BROKEN = {
    "syntax": ("def f(:\n", "SyntaxError"),
    "import": ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
    "late": (PLUGIN.format(name="half_done") + "\nraise RuntimeError('too late')", "too late"),
    "exit": ("raise SystemExit(3)", "SystemExit"),
    "clash": (PLUGIN.format(name="gelu"), "'gelu' is defined twice"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_reported_and_leaves_nothing_behind(how, write):
    source, reason = BROKEN[how]
    file = write("plugins/broken.py", source)
    before = nonlinearities.get("gelu")
    (failure,) = plugin_failures()
    assert failure.plugin == str(file)
    assert reason in failure.reason
    assert "\n" not in failure.reason
    assert nonlinearities.get("gelu") is before
    assert "half_done" not in nonlinearities


def test_a_broken_plugin_does_not_stop_its_neighbours(write):
    write("plugins/a_broken.py", "def f(:\n")
    write("plugins/b_good.py", PLUGIN.format(name="planted"))
    assert "planted" in nonlinearities


def test_a_clash_between_a_plugin_and_a_builtin_names_both_places(write):
    file = write("plugins/clash.py", PLUGIN.format(name="gelu"))
    nonlinearities.names()
    reason = plugin_failures()[0].reason
    assert "pointwise.py:" in reason
    assert f"{file}:6" in reason


def test_what_a_plugin_prints_does_not_reach_stdout(write, capsys):
    write("plugins/chatty.py", "print('hello')")
    nonlinearities.names()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


#: Nothing here or before it imports the built-in tasks, so they might come after it.
CLASH = """
from ssmbench.registry import tasks


@tasks.register("digits")
def planted(config, *, batch_size, seed):
    return None
"""


PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "planted"
version = "1.0"

[project.entry-points."ssmbench.plugins"]
good = "planted_package"
bad = "no_such_package_at_all"

[tool.setuptools]
py-modules = ["planted_package"]
"""


def write_package(folder: Path) -> Path:
    """The sources of a package with a good entry point and a bad one."""
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "planted_package.py").write_text(PLUGIN.format(name="planted"))
    return folder


def install(into: Path, package: Path) -> None:
    """Install a package with pip, without a network."""
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--no-compile", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", into, package]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory) -> list[str]:
    """What a new process finds: a package's good entry point, a bad one, and a file that
    clashes."""
    place = tmp_path_factory.mktemp("fresh")
    install(place, write_package(tmp_path_factory.mktemp("package")))
    (place / "plugins").mkdir()
    (place / "plugins" / "clash.py").write_text(CLASH)
    code = """
        import ssmbench as sb
        from ssmbench.registry import (
            discretizers, loaded_plugins, nonlinearities, plugin_failures, tasks
        )
        discretizers.names()
        print(nonlinearities.get("planted").factory.__module__)
        print(tasks.get("digits").factory.__module__)
        print(*plugin_failures(), sep="; ")
        planted = nonlinearities.get("planted")
        print(planted.builtin, planted.package, planted.version)
        (loaded,) = loaded_plugins()
        print(loaded.name, loaded.file, loaded.version, loaded.digest == planted.source_digest)
        print(sb.check("nonlinearity", "planted").ok)
    """
    search = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    return python(code, place, PYTHONPATH=search).stdout.splitlines()


def test_entry_points_are_found_and_broken_ones_reported(fresh_process):
    assert fresh_process[0] == "planted_package"
    assert "bad (no_such_package_at_all)" in fresh_process[2]
    assert "good" not in fresh_process[2]


def test_an_entry_of_an_installed_package_is_known_by_its_version(fresh_process):
    assert fresh_process[3] == "False planted 1.0"
    name, file, version, same = fresh_process[4].split()
    assert (name, Path(file).name, version, same) == ("good", "planted_package.py", "1.0", "True")


def test_an_entry_of_an_installed_package_passes_the_checks(fresh_process):
    assert fresh_process[5] == "True"


def test_a_builtin_keeps_its_name_whatever_kind_is_looked_up_first(fresh_process):
    assert fresh_process[1] == "ssmbench.tasks.digits"
    assert "clash.py" in fresh_process[2]


def test_the_example_plugin_is_found_and_sound(workplace, root):
    add_plugin_paths([root / "plugins"])
    about = registry.describe(registry.parametrizations.get("leaky_integrators"))
    assert plugin_failures() == []
    assert about["facts"]["time_domain"] == "continuous"
    assert about["options"]["gamma"] == 4.0
    assert about["origin"].startswith(str(root / "plugins" / "leaky_integrators.py"))
