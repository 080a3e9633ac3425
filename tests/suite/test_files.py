"""Suite files that build on others, select runs, and set options for some of them."""

from __future__ import annotations

import pytest
import yaml

from ssmbench.config import fingerprint
from ssmbench.errors import UsageError
from ssmbench.suite.composition import read_composed
from ssmbench.suite.grid import load_cell, load_suite

pytestmark = pytest.mark.usefixtures("workplace")


def labels(suite):
    return [cell.label for cell in suite.cells]


# --- defaults -------------------------------------------------------------------------------------


def test_a_suite_builds_on_files_beside_it(write, tiny_suite):
    """Later ones over earlier ones, the file's own keys over both; each has its own name."""
    write("parts/tiny.yaml", tiny_suite)
    write("parts/twice.yaml", {"seeds": [0, 1], "base": {"batch_size": 2, "seed": 3}})
    own = {"defaults": ["tiny.yaml", "twice.yaml"], "base": {"batch_size": 4}}
    suite = load_suite(write("parts/mine.yaml", own))
    assert (suite.name, len(suite.cells)) == ("mine", 4)
    assert {cell.config["batch_size"] for cell in suite.cells} == {4}


def test_a_suite_builds_on_a_bundled_one(write, root):
    published = load_suite(root / "configs" / "suites" / "quickstart.yaml")
    suite = load_suite(write("mine.yaml", {"defaults": ["quickstart"], "seeds": 1}))
    wanted = [cell for cell in published.cells if cell.seed == 0]
    assert [fingerprint(cell.config) for cell in suite.cells] == [
        fingerprint(cell.config) for cell in wanted
    ]


def test_overrides_of_all_files_are_joined(write):
    first, second = ({"for": name, "set": {"batch_size": 1}} for name in ("*/a", "*/b"))
    write("first.yaml", {"overrides": [first]})
    both = read_composed(write("x.yaml", {"defaults": ["first.yaml"], "overrides": [second]}))
    assert both["overrides"] == [first, second]


BAD_DEFAULTS = {
    "itself": ("x.yaml", "x.yaml: defaults: a circle: x.yaml -> x.yaml"),
    "a circle": ("y.yaml", "x.yaml: defaults: a circle: x.yaml -> y.yaml -> x.yaml"),
    "unknown file": ("tiny.yml", "x.yaml: defaults: 'tiny.yml' is no file .* mean 'tiny.yaml'"),
    "unknown name": ("quikstart", "defaults: 'quikstart' .* did you mean 'quickstart'"),
    "unknown key": ("bad.yaml", "bad.yaml: unknown key 'sedes': did you mean 'seeds'"),
}


@pytest.mark.parametrize("what", BAD_DEFAULTS)
def test_defaults_that_cannot_be_read_are_named(what, write, tiny_suite):
    given, message = BAD_DEFAULTS[what]
    write("tiny.yaml", tiny_suite)
    write("y.yaml", {"defaults": ["x.yaml"]})
    write("bad.yaml", {"sedes": 2})
    with pytest.raises(UsageError, match=message) as error:
        load_suite(write("x.yaml", {"defaults": [given]}))
    assert "\n" not in str(error.value)


# --- include and exclude --------------------------------------------------------------------------


@pytest.fixture
def grid(tiny_suite):
    """Two tasks, three variants and discretizers, two seeds."""
    tiny_suite["tasks"] = {"a": {"task": "digits"}, "b": {"task": "digits", "batch_size": 2}}
    tiny_suite["variants"]["S4D"]["discretizers"] = ["zoh", "tustin"]
    return tiny_suite | {"seeds": 2}


SELECTIONS = {
    "a label": ({"include": ["a/S4D-zoh-s1"]}, {"a/S4D-zoh-s1"}),
    "without the seed": ({"include": "b/S4D-zoh"}, {"b/S4D-zoh-s0", "b/S4D-zoh-s1"}),
    "a pattern": ({"include": ["a/S4D*-s0"]}, {"a/S4D-zoh-s0", "a/S4D-tustin-s0"}),
    "a field": ({"include": [{"variant": "L2*", "task": "a"}]}, {"a/L2RU-s0", "a/L2RU-s1"}),
    "lists": (
        {"include": [{"discretizer": ["zoh", "none"], "seed": [0]}], "exclude": ["b/*"]},
        {"a/S4D-zoh-s0", "a/L2RU-s0"},
    ),
    "but": (
        {"exclude": ["*/L2RU", {"discretizer": "zoh"}, {"seed": 1}]},
        {"a/S4D-tustin-s0", "b/S4D-tustin-s0"},
    ),
}


@pytest.mark.parametrize("what", SELECTIONS)
def test_selected_runs_are_the_suite(what, write, grid):
    change, wanted = SELECTIONS[what]
    assert set(labels(load_suite(write("x.yaml", grid | change)))) == wanted


BAD_SELECTIONS = {
    "no run": ({"include": ["a/S4D-zho"]}, "include: no run is called 'a/S4D-zho'; did you mean"),
    "no variant": ({"exclude": [{"variant": "S5"}]}, "exclude: no variant is called 'S5'; "),
    "no seed": ({"include": [{"seed": 7}]}, "include: no seed is called '7'; known: 0, 1"),
    "together": (
        {"include": [{"variant": "L2RU", "discretizer": "zoh"}]},
        "include: no run matches {variant: L2RU, discretizer: zoh}",
    ),
    "nothing left": ({"exclude": ["*"]}, "exclude: no run is left"),
    "unknown field": ({"include": [{"varaint": "x"}]}, r"include\[0\]: unknown key 'varaint'"),
    "a number": ({"include": 3}, "include: must be a pattern of labels, or"),
    "for": (
        {"overrides": [{"for": "*/L2U", "set": {"batch_size": 1}}]},
        r"overrides\[0\]: for: no run is called '\*/L2U'",
    ),
    "no set": ({"overrides": [{"for": "*"}]}, r"overrides\[0\]: must have the keys for and set"),
    "a key of none": (
        {"overrides": [{"for": "*", "set": {"optimizer": {"lr": 1}, "batchsize": 1}}]},
        r"overrides\[0\]: set: .*batchsize",
    ),
    "a label's": (
        {"overrides": [{"for": "*", "set": {"model.discretizer": "zoh"}}]},
        r"overrides\[0\]: set: model.discretizer: the grid sets it for each run",
    ),
    "a mapping": ({"overrides": {"for": "*"}}, "overrides: must be a list of mappings"),
}


@pytest.mark.parametrize("what", BAD_SELECTIONS)
def test_bad_selections_are_refused_in_one_line(what, write, grid):
    change, message = BAD_SELECTIONS[what]
    with pytest.raises(UsageError, match=message) as error:
        load_suite(write("x.yaml", grid | change))
    assert "\n" not in str(error.value)


# --- overrides ------------------------------------------------------------------------------------


def test_overrides_come_after_the_variant_and_before_the_command_line(write, grid):
    grid["variants"]["L2RU"]["batch_size"] = 3
    grid["overrides"] = [
        {"for": {"variant": "L2RU"}, "set": {"batch_size": 4, "optimizer.lr": 0.5}},
        {"for": ["a/L2RU-s1", "b/S4D-zoh-s0"], "set": {"batch_size": 5}},
    ]
    file = write("x.yaml", grid)
    suite = load_suite(file)
    sizes = {cell.label: cell.config["batch_size"] for cell in suite.cells}
    changed = {"a/L2RU-s0": 4, "a/L2RU-s1": 5, "b/L2RU-s0": 4, "b/L2RU-s1": 4, "b/S4D-zoh-s0": 5}
    wanted = {label: {"a": 32, "b": 2}[label[0]] for label in sizes} | changed
    assert sizes == wanted
    rates = {cell.config["optimizer"]["lr"] for cell in suite.cells if cell.variant == "L2RU"}
    assert rates == {0.5}
    assert load_cell(file, "a/L2RU-s1").config["batch_size"] == 5
    assert {c.config["batch_size"] for c in load_suite(file, ["batch_size=6"]).cells} == {6}


def test_seeds_share_a_config_only_where_nothing_refers_to_the_seed(write, grid):
    """As if each had been resolved alone."""
    grid["base"]["analysis"]["attack_seed"] = "${seed}"
    suite = load_suite(write("x.yaml", grid))
    assert all(cell.config["analysis"]["attack_seed"] == cell.seed for cell in suite.cells)
    text = yaml.safe_dump(grid).replace("${seed}", "1")
    alone = load_cell(write("y.yaml", text), "a/S4D-zoh-s1")
    assert alone.config in [cell.config for cell in suite.cells]
