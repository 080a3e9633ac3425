"""ListOps: answers against an evaluator of the test's own, statistics, files, what is refused."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.lra.listops_files import read_listops
from ssmbench.tasks.lra.listops_trees import Shape, expressions, grow
from ssmbench.tasks.lra.records import Records
from tests.tasks.tiny import tiny_task

END, CLOSE = 2, 17
#: (operator, digits) as the Arena's description states them.
MEANING = {
    13: min,
    14: max,
    15: lambda x: int(statistics.median(x)),
    16: lambda x: sum(x) % 10,
}
WORDS = {13: "[MIN", 14: "[MAX", 15: "[MED", 16: "[SM", 17: "]"} | {
    3 + d: str(d) for d in range(10)
}


def value_of(tokens: list[int]) -> tuple[int, int]:
    """(value, depth) of a whole expression, by recursive descent."""

    def parse(at: int) -> tuple[int, int, int]:
        if tokens[at] not in MEANING:
            assert 3 <= tokens[at] <= 12
            return tokens[at] - 3, at + 1, 1
        arguments, deepest, place = [], 0, at + 1
        while tokens[place] != CLOSE:
            value, place, depth = parse(place)
            arguments.append(value)
            deepest = max(deepest, depth)
        assert len(arguments) >= 2
        return MEANING[tokens[at]](arguments), place + 1, deepest + 1

    value, end, depth = parse(0)
    assert tokens[end:] == [END]
    return value, depth


def task_of(**options):
    entry = tasks.get("listops")
    return entry.build(entry.config(**options), batch_size=16, seed=0)


def sequences(data):
    return [data.values[a:b].tolist() for a, b in zip(data.offsets, data.offsets[1:], strict=False)]


# --- the generator ------------------------------------------------------------------------------


@given(
    low=st.integers(1, 12),
    room=st.integers(20, 60),
    depth=st.integers(3, 6),
    args=st.integers(3, 8),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_values_are_those_of_an_independent_evaluator(low, room, depth, args, seed):
    shape = Shape(low, low + room, depth, args)
    drawn = expressions(shape, 60, (seed, 0), set())
    for tokens, target in zip(sequences(drawn), drawn.target, strict=True):
        value, deepest = value_of(tokens)
        assert value == target
        assert deepest <= depth
        assert low < len(tokens) - 1 < low + room


def test_published_settings_give_the_published_statistics():
    """8.3% of the trees are accepted; their median length is that of 55,728 expressions drawn by a
    plain recursion, 956.5, with which the published 969 agrees to sampling error."""
    shape, trees = Shape(), 65_536
    _, lengths = grow(shape, np.random.default_rng(0), trees)
    accepted = lengths[(lengths > shape.min_length) & (lengths < shape.max_length)]
    error = math.sqrt(0.083 * 0.917 / trees)
    assert len(accepted) / trees == pytest.approx(0.083, abs=3 * error)
    # Standard error of a median of m values: 1 / (2 f sqrt(m)), density f about 1 / 1060 there.
    assert np.median(accepted) == pytest.approx(956.5, abs=3 * 530 / math.sqrt(len(accepted)))


def test_values_at_the_published_settings():
    drawn = expressions(Shape(), 40, (0, 0), set())
    found = [value_of(tokens)[0] for tokens in sequences(drawn)]
    assert found == drawn.target.tolist()


def test_expressions_are_a_function_of_the_options():
    """If this changes, the task's data_version must be raised."""
    tokens = tiny_task("listops").split("test").values
    other = tiny_task("listops", generation_seed=1).split("test").values
    beginning = "[MIN 0 4 7 4 ] end [SM 9 2 1 3 ] end [SM 5 2 [MAX 1 2 8 8 ] ]"
    words = WORDS | {END: "end"}
    assert " ".join(words[token] for token in tokens[:24].tolist()) == beginning
    assert tokens[:100].tolist() != other[:100].tolist()


def test_no_expression_is_in_two_splits_and_tests_do_not_depend_on_the_training_size():
    task, fewer = (tiny_task("listops", train_expressions=number) for number in (1100, 50))
    every = [tuple(x) for name in ("train", "val", "test") for x in sequences(task.split(name))]
    assert len(set(every)) == len(every) == 1190
    assert sequences(task.split("test")) == sequences(fewer.split("test"))


def test_too_few_expressions_are_said():
    options = {"min_length": 0, "max_length": 2, "test_expressions": 12}
    with pytest.raises(UsageError, match="12 different expressions were asked for") as caught:
        tiny_task("listops", **options).split("test")
    assert "\n" not in str(caught.value)


def test_lengths_that_leave_no_room_are_refused():
    with pytest.raises(UsageError, match="no length between min_length 9 and max_length 10"):
        tiny_task("listops", min_length=9, max_length=10)


def test_baselines_are_shown_beside_each_other():
    task = tiny_task("listops")
    scores = task.baseline_scores()
    train, test = task.split("train"), task.split("test")
    best = {}
    for tokens, target in zip(sequences(train), train.target, strict=True):
        best.setdefault(tokens[0], []).append(int(target))
    right = sum(
        target == statistics.mode(sorted(best[tokens[0]]))
        for tokens, target in zip(sequences(test), test.target, strict=True)
    )
    assert scores["root operator alone"] == pytest.approx(right / len(test.target))
    assert scores["root operator alone"] > scores["majority class"]


# --- published files ----------------------------------------------------------------------------


def in_the_release(tokens: list[int]) -> str:
    """As the release writes it: ( ( ( ( [MAX 2 ) 9 ) 7 ) ] )"""

    def parse(at: int) -> tuple[str, int]:
        if tokens[at] not in MEANING:
            return WORDS[tokens[at]], at + 1
        text, place = WORDS[tokens[at]], at + 1
        while tokens[place] != CLOSE:
            inner, place = parse(place)
            text = f"( {text} {inner} )"
        return f"( {text} ] )", place + 1

    return parse(0)[0]


def write_files(folder, numbers=(60, 12, 14)):
    """Files in the release's form and what they hold."""
    folder.mkdir(parents=True)
    held = {}
    for k, (part, number) in enumerate(zip(("train", "val", "test"), numbers, strict=True)):
        held[part] = expressions(Shape(5, 40, 4, 4), number, (7, k), set())
        lines = [
            f"{in_the_release(tokens)}\t{target}\n"
            for tokens, target in zip(sequences(held[part]), held[part].target, strict=True)
        ]
        (folder / f"basic_{part}.tsv").write_text("Source\tTarget\n" + "".join(lines))
    return held


SIZES = {"train_expressions": 50, "val_expressions": 12, "test_expressions": 14}


@pytest.mark.parametrize(
    "layout", ["listops-1000", "listops", "lra_release/lra_release/listops-1000", "."]
)
def test_released_files_are_read_in_every_layout(tmp_path, layout):
    held = write_files(tmp_path / "data" / layout if layout != "." else tmp_path / "data")
    task = task_of(data_dir=str(tmp_path / "data"), max_length=40, min_length=5, **SIZES)
    assert task.source == "published TSV files"
    for name, number in zip(("train", "val", "test"), SIZES.values(), strict=True):
        assert sequences(task.split(name)) == sequences(held[name])[:number]
        assert task.split(name).target.tolist() == held[name].target[:number].tolist()


def test_records_are_resolved_by_what_is_there(tmp_path, monkeypatch):
    config = tasks.get("listops").config
    assert tiny_task("listops", records=Records.auto).source == "generated expressions"
    for given_options in ({"data_dir": str(tmp_path)}, {"records": Records.published}):
        with pytest.raises(UsageError, match=r"listops-1000/basic_train\.tsv"):
            config(**given_options).resolve_auto()
    write_files(tmp_path / "listops")
    monkeypatch.setenv("SSMBENCH_DATA", str(tmp_path))
    found = config()
    found.resolve_auto()
    assert found.records is Records.published


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("( ( [MAX 2 ) ] )", r"x\.tsv:3: expected an expression, a tab and a value"),
        ("( ( [MAX 2 ) ] )\t10", r"x\.tsv:3: expected an expression, a tab and a value"),
        ("( ( [MUX 2 ) ] )\t2", r"x\.tsv:3: not part of an expression: '\[MUX'"),
        ("( ( a 2 ) ] )\t2", r"x\.tsv:3: not part of an expression: '\?'"),
        ("( [MAX 2 )\t2", r"x\.tsv:3: 1 operators, 0 closing brackets"),
        ("\t2", r"x\.tsv:3: 0 operators"),
    ],
)
def test_malformed_lines_are_refused_with_their_number(tmp_path, line, message):
    file = tmp_path / "x.tsv"
    file.write_text(f"Source\tTarget\n4\t4\n{line}\n")
    with pytest.raises(UsageError, match=message):
        read_listops(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "x.tsv"
    file.write_text("expression,value\n")
    with pytest.raises(UsageError, match=r"x\.tsv:1: the header must be"):
        read_listops(file)
    file.write_text("Source\tTarget\n\n")
    with pytest.raises(UsageError, match="no expression"):
        read_listops(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_listops(tmp_path / "absent.tsv")


def test_published_expressions_must_fit_the_options(tmp_path):
    write_files(tmp_path / "listops")
    options = {"data_dir": str(tmp_path), "min_length": 5}
    with pytest.raises(UsageError, match="60 expressions; train_expressions is 61"):
        task_of(**options, max_length=40, **SIZES | {"train_expressions": 61}).split("train")
    with pytest.raises(UsageError, match=r"expression \d+ has \d+ tokens; max_length is 20"):
        task_of(**options, max_length=20, **SIZES).split("train")
