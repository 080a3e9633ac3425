"""JSON for every parser, which is read back as what was written."""

from __future__ import annotations

import ast
import enum
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench import jsonio
from ssmbench.jsonio import NotJsonError
from tests.strict_json import strict_json

ROOT = Path(__file__).parents[1]
WORDS = ("inf", "-inf", "nan", "\\inf", "\\\\nan", "Infinity", "NaN", "\\")

texts = st.sampled_from(WORDS) | st.text()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def identical(one, two) -> bool:
    """Equal in type, value and sign, NaN included."""
    return repr(one) == repr(two)


@given(st.lists(values, max_size=4), st.integers(1, 40))
def test_a_line_that_was_cut_costs_that_line_only(tmp_path_factory, rows, cut):
    """As kill -9 or a full disk leaves it; the next writer goes on after it."""
    file = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    for row in rows:
        jsonio.append(file, row)
    whole = file.read_bytes() if rows else b""
    half = (jsonio.dumps({"step": "x" * 50}).encode())[:cut]
    file.write_bytes(whole + half)
    assert identical(jsonio.read_lines(file), rows)
    jsonio.append(file, {"step": 1})
    assert identical(jsonio.read_lines(file), [*rows, {"step": 1}])


def test_a_missing_file_has_no_lines(tmp_path):
    assert jsonio.read_lines(tmp_path / "rows.jsonl") == []


@given(values)
def test_what_is_written_is_json_and_is_read_back_the_same(value):
    assert identical(strict_json(jsonio.dumps(value)), value)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_a_word_for_others(number):
    assert json.loads(jsonio.dumps({"x": [number]})) == {"x": [str(number)]}


def test_files_of_before_are_read():
    read = jsonio.loads('{"a": Infinity, "b": [-Infinity, NaN], "c": 1}')
    assert identical(read, {"a": math.inf, "b": [-math.inf, math.nan], "c": 1})


class Choice(enum.Enum):
    one = 1


SCALARS = {
    "float64": (np.float64(0.1), 0.1),
    "float32": (np.float32(np.inf), math.inf),
    "int64": (np.int64(3), 3),
    "bool": (np.bool_(True), True),
    "array": (np.array([[1.0, np.nan]]), [[1.0, math.nan]]),
    "tensor": (torch.tensor(2.5), 2.5),
    "bfloat16": (torch.tensor([1.5], dtype=torch.bfloat16), [1.5]),
    "choice": (Choice.one, "one"),
    "path": (Path("a/b"), "a/b"),
    "tuple": ((1, 2), [1, 2]),
}


@pytest.mark.parametrize("what", SCALARS)
def test_scalars_and_arrays_are_numbers(what):
    given_, expected = SCALARS[what]
    assert identical(strict_json(jsonio.dumps({"x": given_}))["x"], expected)


REFUSED = {
    "complex": (1j, "complex"),
    "complex tensor": (torch.tensor(1j), "complex"),
    "object": (object(), "object"),
    "set": ({1}, "set"),
    "key": ({3: 1}, "key 3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_json_is_refused_with_its_place(what):
    value, message = REFUSED[what]
    with pytest.raises(NotJsonError, match=rf"^a\.b\[1\]: .*{message}"):
        jsonio.dumps({"a": {"b": [0, value]}})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": inf}'])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 whatever the parser says
        jsonio.loads(text)


def test_json_is_written_and_read_in_one_place():
    """``json`` itself is imported by jsonio alone: elsewhere, a bare Infinity would slip in."""
    users = []
    for folder in ("ssmbench", "plugins", "tools"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                if "json" in names:
                    users.append(str(file.relative_to(ROOT)))
    alone = "ssmbench/program/reference.py"  # is copied to where there is no ssmbench
    assert users == ["ssmbench/jsonio.py", alone]
