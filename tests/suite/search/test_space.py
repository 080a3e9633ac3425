"""The space of a search, and its rungs: what is sampled lies in it; what is not one is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.suite.search.halving import read_halving
from ssmbench.suite.search.settings import read_searches
from ssmbench.suite.search.space import Choice, Range, parse_space

NUMBERS = st.floats(1e-12, 1e12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5) | NUMBERS


def one(values):
    return parse_space({"key": values}, "F")["key"]


@given(low=NUMBERS, factor=st.floats(1.1, 1e6), place=st.floats(0, 1), log=st.booleans())
def test_a_sampled_number_lies_in_its_range_and_is_the_same_when_it_is_read_again(
    low, factor, place, log
):
    values = one({"log" if log else "uniform": [low, low * factor]})
    assert isinstance(values, Range)
    assert values.log == log
    found = values.value(low + place * (low * factor - low))
    assert low <= found <= low * factor
    assert values.value(values.stored(found)) == found
    assert values.distribution()._contains(values.stored(found))


@given(low=st.integers(1, 1000), more=st.integers(1, 1000), log=st.booleans())
def test_a_range_of_whole_numbers_has_both_ends(low, more, log):
    values = one({"int": [low, low + more], "log": log})
    assert values.ends == (low, low + more)
    assert {type(values.value(float(end))) for end in values.ends} == {int}


@given(st.lists(SCALARS | st.dictionaries(st.text(max_size=3), SCALARS), min_size=1, max_size=5))
def test_values_of_a_list_are_read_back_as_they_were_given(given_values):
    texts = [(type(value), repr(value)) for value in given_values]
    if len(set(texts)) < len(texts):
        with pytest.raises(UsageError, match="twice"):
            one(given_values)
        return
    values = one(given_values)
    assert isinstance(values, Choice)
    stored = values.distribution().choices  # as Optuna's journal has them: 1 and True apart
    assert [repr(values.value(text)) for text in stored] == [repr(v) for v in given_values]


@given(low=st.integers(1, 50), factor=st.integers(2, 5), more=st.floats(1, 200))
def test_budgets_grow_by_the_factor_up_to_the_last(low, factor, more):
    high = math.ceil(low * factor * more)
    raw = {"budget": "trainer.max_epochs", "from": low, "to": high, "factor": factor}
    budgets = read_halving(raw, "F").budgets
    assert budgets[-1] == high
    assert all(isinstance(budget, int) for budget in budgets)
    assert low <= budgets[0] < low * factor + 1
    for before, after in pairwise(budgets):
        assert abs(after - factor * before) <= 0.5 * (factor + 1)


BAD_VALUES = {
    "a number": (5, "must be a list of values or one of"),
    "an empty list": ([], "at least one value"),
    "an empty mapping": ({}, "must be a list of values or one of"),
    "a value twice": ([1, 1], "lists 1 twice"),
    "a misspelt kind": ({"unifrom": [0, 1]}, "unknown key 'unifrom': did you mean 'uniform'?"),
    "two kinds": ({"uniform": [0, 1], "log": [1, 2]}, "must be a list of values or one of"),
    "uniform and log": ({"uniform": [1, 2], "log": True}, "must be a list of values or one of"),
    "log alone": ({"log": True}, "must be two numbers, [low, high]"),
    "one bound": ({"log": [1]}, "must be two numbers, [low, high]"),
    "bounds the wrong way": ({"uniform": [1, 0]}, "less than the second"),
    "a log range from 0": ({"log": [0, 1]}, "above 0"),
    "an int log range from 0": ({"int": [0, 4], "log": True}, "above 0"),
    "infinity": ({"uniform": [0, math.inf]}, "must be two numbers"),
    "int of reals": ({"int": [0.5, 4]}, "must be two whole numbers"),
    "int log of a word": ({"int": [1, 4], "log": "yes"}, "true or false"),
    "booleans": ({"int": [False, True]}, "must be two whole numbers"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_values_that_are_neither_a_list_nor_a_range_are_refused(what):
    values, problem = BAD_VALUES[what]
    with pytest.raises(UsageError) as refused:
        one(values)
    message = str(refused.value)
    assert message.startswith("F: key: ")
    assert problem in message
    assert "\n" not in message


GOOD = {"trials": 4, "space": {"optimizer.lr": {"log": [0.001, 0.1]}}}
HALVING = {"budget": "trainer.max_epochs", "from": 2, "to": 18}
BAD_SEARCHES = {
    "no mapping": (5, "search: must be a mapping"),
    "an unknown key": (GOOD | {"trails": 4}, "search: unknown key 'trails': did you mean 'trials'"),
    "no trials": ({"space": GOOD["space"]}, "search: trials: is missing"),
    "no whole trials": (GOOD | {"trials": 2.5}, "search: trials: must be a whole number from 1"),
    "no trials at all": (GOOD | {"trials": 0}, "search: trials: must be a whole number from 1"),
    "an unknown sampler": (GOOD | {"sampler": "tpa"}, "search: sampler: unknown 'tpa': did you"),
    "a negative seed": (GOOD | {"seed": -1}, "search: seed: must be a whole number from 0"),
    "the test score": (GOOD | {"objective": "test"}, "search: objective: unknown 'test'"),
    "no space": ({"trials": 4}, "search: space: must map dotted keys"),
    "an axis": (
        GOOD | {"space": {"model.parametrization.name": ["s4d"]}},
        "space: model.parametrization.name: the suite sets it for each run",
    ),
    "a label": (GOOD | {"space": {"variant": ["a"]}}, "space: variant: the suite sets it"),
    "what changes no result": (
        GOOD | {"space": {"trainer.max_time": ["1:00"]}},
        "space: trainer.max_time: does not change what a run computes",
    ),
    "keys that overlap": (
        GOOD | {"space": {"model.norm": ["batch"], "model.norm.momentum": [0.1]}},
        "space: model.norm.momentum is a part of model.norm",
    ),
    "a grid with trials": (GOOD | {"sampler": "grid"}, "search: trials: the grid has as many"),
    "a grid of a range": (
        {"sampler": "grid", "space": GOOD["space"]},
        "space: optimizer.lr: a grid needs a list of values",
    ),
    "an unknown variant": (
        GOOD | {"spaces": {"S4": {"model.dropout": [0]}}},
        "spaces: unknown 'S4': did you mean 'S4D'?",
    ),
    "what is not there left out": (
        GOOD | {"spaces": {"S4D": {"model.dropout": None}}},
        "spaces: S4D: model.dropout: null: is not in the space",
    ),
    "a bad value of a variant": (
        GOOD | {"spaces": {"S4D": {"model.dropout": 5}}},
        "spaces: S4D: model.dropout: must be a list",
    ),
    "no parallel trials": (GOOD | {"parallel": 0}, "search: parallel: must be a whole number"),
    "a misspelt halving": (GOOD | {"halving": HALVING | {"facto": 3}}, "halving: unknown key"),
    "no end": (GOOD | {"halving": {"budget": "a", "from": 1}}, "halving: to: is missing"),
    "no budget": (GOOD | {"halving": HALVING | {"budget": 3}}, "halving: budget: must be a dotted"),
    "one rung": (GOOD | {"halving": HALVING | {"to": 5}}, "to: must be at least factor x from, 6"),
    "from nothing": (GOOD | {"halving": HALVING | {"from": 0}}, "from: must be a positive number"),
    "factor one": (GOOD | {"halving": HALVING | {"factor": 1}}, "factor: must be a whole number"),
    "a budget in the space": (
        GOOD | {"halving": HALVING | {"budget": "optimizer.lr"}},
        "halving: budget: optimizer.lr: is in the space too",
    ),
}


@pytest.mark.parametrize("what", BAD_SEARCHES)
def test_a_search_with_a_mistake_is_refused(what):
    raw, problem = BAD_SEARCHES[what]
    with pytest.raises(UsageError) as refused:
        read_searches(raw, "F.yaml", ["S4D", "L2RU"])
    message = str(refused.value)
    assert message.startswith("F.yaml: search")
    assert problem in message
    assert "\n" not in message


def test_a_variant_may_have_a_space_of_its_own():
    space = {"optimizer.lr": [1, 2], "model.parametrization.d_state": [4]}
    own = {"L2RU": {"model.parametrization.d_state": None, "optimizer.lr": [1, 2, 3]}}
    raw = {"sampler": "grid", "space": space, "spaces": own}
    searches = read_searches(raw, "F.yaml", ["S4D", "L2RU"])
    assert {label: set(search.space) for label, search in searches.items()} == {
        "S4D": set(space),
        "L2RU": {"optimizer.lr"},
    }
    assert [search.trials for search in searches.values()] == [2, 3]


def test_rungs_have_a_factor_fewer_trials_each_but_at_least_one():
    raw = GOOD | {"trials": 20, "halving": HALVING | {"to": 54}}
    (search,) = read_searches(raw, "F.yaml", ["S4D"]).values()
    assert search.rungs == ((20, 2), (6, 6), (2, 18), (1, 54))
