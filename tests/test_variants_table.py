"""docs/variants.md says what the code computes."""

from __future__ import annotations

from types import ModuleType

import pytest

from ssmbench import registry
from tests.tools import load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("variants_table")


def rows_of(tool: ModuleType, heading: str) -> list[tuple[str, ...]]:
    """The cells of the committed page's table whose header begins with ``heading``."""
    tables = tool.PAGE.read_text().split("\n\n")
    (table,) = (t for t in tables if t.strip().startswith(f"| {heading} |"))
    lines = table.strip().splitlines()[2:]
    return [tuple(line.removeprefix("| ").removesuffix(" |").split(" | ")) for line in lines]


@pytest.mark.slow
def test_the_committed_discretizers_are_the_computed_ones(tool):
    assert rows_of(tool, "discretizer") == tool.discretizer_rows()


def test_the_page_has_every_built_in_discretizer(tool):
    names = [row[0].split("`")[1] for row in rows_of(tool, "discretizer")]
    built_in = (e for e in registry.discretizers if e.factory.__module__.startswith("ssmbench."))
    assert names == [entry.name for entry in built_in]


def test_the_parametrizations_have_their_facts(tool):
    rows = {row[0]: row for row in rows_of(tool, "parametrization")}
    assert rows["`l2ru`"][1:4] == ("discrete", "yes", "yes")
    assert rows["`unconstrained_dense`"][1:4] == ("continuous", "no", "no")
