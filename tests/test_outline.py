"""What listings read from the source is what an import registers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.registry import KINDS, Outline, Registry
from ssmbench.registry.outline import outlines
from tests.test_architecture import heavy_modules_after

ONE = """
@things.register("one", summary="The " "first.")
class One:
    pass


@registry.things.register(
    "two", citation="Someone 2025"
)
def two(config):
    \"\"\"The second.

    And more.
    \"\"\"
"""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_source_of_the_built_in_entries_says_what_their_import_registers(kind):
    read = outlines(kind.kind, kind.plural, kind.package)
    assert read is not None
    entries = [entry for entry in kind if entry.builtin]
    registered = [Outline(kind.kind, e.name, e.summary, e.origin) for e in entries]
    assert sorted(read, key=str) == sorted(registered, key=str)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """``read(text)``: the outlines of a package of one module with this text, and its file."""
    package = ModuleType("planted_source")
    package.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "planted_source", package)
    (tmp_path / "__init__.py").write_text("")

    def read(text: str) -> tuple[list[Outline] | None, Path]:
        (tmp_path / "one.py").write_text(text)
        return outlines("thing", "things", "planted_source"), tmp_path / "one.py"

    return read


def test_names_summaries_and_places_are_read(read):
    found, file = read(ONE)
    first = Outline("thing", "one", "The first.", f"{file}:2")
    assert found == [first, Outline("thing", "two", "The second.", f"{file}:7")]


UNREADABLE = {
    "a loop": "for name in NAMES:\n    things.register(name)(object)\n",
    "a condition": "if CUDA:\n    @things.register('three')\n    class Three: ...\n",
    "a name that is computed": "@things.register(NAME)\nclass Three: ...\n",
    "a summary that is computed": "@things.register('three', summary=f'{N}')\nclass Three: ...\n",
    "options that are computed": "@things.register('three', **more)\nclass Three: ...\n",
    "another name for it": "add = things.register\n",
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_what_cannot_be_read_must_be_imported(how, read):
    assert read(ONE + UNREADABLE[how])[0] is None


def test_a_package_without_source_must_be_imported():
    assert outlines("thing", "things", "no_such_package") is None


def test_a_name_of_a_built_in_entry_is_taken_before_its_import():
    fresh = Registry("discretizer", "ssmbench.discretizers")
    with pytest.raises(UsageError, match=r"discretizer 'zoh' is defined twice: .*exact\.py:"):
        fresh.register("zoh")(object)
    assert not fresh._builtins_loaded


def test_built_in_entries_outlive_a_plugin_that_imported_them_and_failed():
    """Their modules are not executed a second time."""
    kind = Registry("thing", "ssmbench.normalisers")

    def fail_within() -> None:
        with kind.restored(only_on_error=True):
            for module in ("ssmbench.normalisers.planted", "plugin"):
                names = {"things": kind, "__name__": module}
                exec(f"@things.register('of {module}')\nclass One: ...", names)
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        fail_within()
    assert [*kind._entries] == ["of ssmbench.normalisers.planted"]


def test_a_listing_imports_nothing_heavy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(registry.PLUGINS_VARIABLE, raising=False)
    code = """
import sys
from ssmbench import cli
sys.argv = ["ssmbench", "list"]
try:
    cli.main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
"""
    assert heavy_modules_after(code) == []


def test_an_empty_summary_is_the_first_line_of_the_docstring_as_in_an_import(read):
    found, _ = read("@things.register('one', summary='')\nclass One:\n    '''The first.'''\n")
    assert [outline.summary for outline in found] == ["The first."]


UNREADABLE_PACKAGE = """
from planted_registry import things

for name in ("one",):
    things.register(name)(type("One", (), {}))
"""


def test_a_built_in_entry_is_not_replaced_where_its_source_cannot_be_read(tmp_path, monkeypatch):
    kind, holder = Registry("thing", "planted_kind"), ModuleType("planted_registry")
    holder.things = kind
    (tmp_path / "planted_kind").mkdir()
    (tmp_path / "planted_kind" / "__init__.py").write_text("")
    (tmp_path / "planted_kind" / "one.py").write_text(UNREADABLE_PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    with monkeypatch.context() as modules:
        modules.setitem(sys.modules, "planted_registry", holder)
        with pytest.raises(UsageError, match=r"thing 'one' is defined twice: .*one\.py:"):
            kind.register("one")(object)
    assert [entry.factory.__name__ for entry in kind] == ["One"]


def test_the_source_is_read_once_for_all_entries_of_a_plugin(monkeypatch):
    calls = []
    monkeypatch.setattr("ssmbench.registry.registry.outlines", lambda *of: calls.append(of) or [])
    kind = Registry("thing", "ssmbench.discretizers")
    for name in ("one", "two"):
        kind.register(name)(type(name, (), {}))
    assert len(calls) == 1
