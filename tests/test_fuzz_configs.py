"""Configs that are wrong in many ways: exit code 0 or 2 and one line, nothing else."""

from __future__ import annotations

import pytest

from tests.tools import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("fuzz_configs")


@pytest.mark.slow
def test_strange_configs_are_answered_in_one_line(tool, workplace):
    wrong = {}
    for case in tool.cases(seed=0, count=40):
        problem, answer = tool.attempt(case, workplace, tool.answer_here)
        if problem:
            wrong[case.number] = problem, answer
    assert wrong == {}


TAGS = ("!!float x", "!!int x", "!!bool x", "!!timestamp x", "!!binary '%'", "!!set {a}")


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_that_its_value_does_not_fit_is_one_line(tag, tool, workplace):
    text = f"task: digits\nseed: {tag}\n".encode()
    problem, answer = tool.attempt(tool.Case(0, "run", text, ()), workplace, tool.answer_here)
    assert (problem, answer.code) == (None, 2)
