"""A suite file as a grid of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ssmbench import registry
from ssmbench.config import fingerprint
from ssmbench.errors import UsageError
from ssmbench.suite.grid import component_label, load_cell, load_suite

pytestmark = pytest.mark.usefixtures("workplace")

#: Issue 2: the quickstart's variants and their discretizers.
PROMISED = {
    "S4D-Lin": {"zoh", "tustin", "bilinear", "forward_euler"},
    "unconstrained": {"zoh", "tustin"},
    "S4D-LegS": {"zoh", "tustin"},
    "certified": {"none"},
    "L2RU": {"none"},
}


@pytest.fixture
def quickstart(root):
    return load_suite(root / "configs" / "suites" / "quickstart.yaml")


def test_the_quickstart_has_40_runs_and_no_two_alike(quickstart):
    assert len({fingerprint(cell.config) for cell in quickstart.cells}) == 40
    assert len({cell.label for cell in quickstart.cells}) == len(quickstart.cells) == 40


def test_the_quickstart_compares_what_was_promised(quickstart):
    found = Counter((c.task, c.variant, c.discretizer) for c in quickstart.cells)
    wanted = {
        (task, variant, discretizer): 2
        for task in ("digits", "cascaded_tanks")
        for variant, discretizers in PROMISED.items()
        for discretizer in discretizers
    }
    assert found == wanted


def test_the_configs_of_the_quickstart_are_what_its_labels_say(quickstart):
    for cell in quickstart.cells:
        config, model = cell.config, cell.config["model"]
        assert (config["seed"], config["variant"]) == (cell.seed, cell.variant)
        assert config["task"]["name"] == cell.task
        named = model["discretizer"]["name"] if model["discretizer"] else "none"
        assert named == cell.discretizer
    inits = {
        (c.variant, c.config["model"]["parametrization"].get("init")) for c in quickstart.cells
    }
    assert ("S4D-Lin", "lin") in inits
    assert ("S4D-LegS", "legs") in inits


def test_every_suite_that_is_shipped_loads(root):
    files = sorted((root / "configs" / "suites").rglob("*.yaml"))
    assert files
    for file in files:
        assert load_suite(file).cells


def test_later_layers_win(write, tiny_suite):
    tiny_suite["base"]["batch_size"] = 1
    tiny_suite["tasks"] = {"a": {"task": "digits"}, "b": {"task": "digits", "batch_size": 2}}
    tiny_suite["variants"]["L2RU"]["batch_size"] = 3
    cells = load_suite(write("suite.yaml", tiny_suite)).cells
    sizes = {(c.task, c.variant): c.config["batch_size"] for c in cells}
    assert sizes == {("a", "S4D"): 1, ("a", "L2RU"): 3, ("b", "S4D"): 2, ("b", "L2RU"): 3}
    cells = load_suite(write("suite.yaml", tiny_suite), ["batch_size=4"]).cells
    assert {cell.config["batch_size"] for cell in cells} == {4}


def test_a_variant_may_name_its_one_discretizer_in_its_model(write, tiny_suite):
    model = {"parametrization": "s4d", "discretizer": "tustin"}
    tiny_suite["variants"] = {"S4D": {"model": model}}
    (cell,) = load_suite(write("suite.yaml", tiny_suite)).cells
    assert cell.config["model"]["discretizer"] == {"name": "tustin"}
    assert cell.label == "digits/S4D-tustin-s0"


def test_a_variant_without_discretizers_has_the_one_of_the_base(write, tiny_suite):
    """But what is discrete by nature, which takes none."""
    tiny_suite["base"]["model"]["discretizer"] = "tustin"
    tiny_suite["variants"]["S4D"] = {"model": {"parametrization": "s4d"}}
    cells = load_suite(write("suite.yaml", tiny_suite)).cells
    found = {
        cell.variant: (cell.discretizer, cell.config["model"]["discretizer"]) for cell in cells
    }
    assert found == {"S4D": ("tustin", {"name": "tustin"}), "L2RU": ("none", None)}


def test_labels_are_text_whatever_yaml_makes_of_them(write, tiny_suite):
    tiny_suite["variants"] = {1: tiny_suite["variants"]["S4D"]}
    tiny_suite["tasks"] = {2: {"task": "digits"}}
    (cell,) = load_suite(write("suite.yaml", tiny_suite)).cells
    assert (cell.task, cell.variant, cell.config["variant"]) == ("2", "1", "1")


def test_a_suite_without_a_name_is_called_after_its_file(write, tiny_suite):
    del tiny_suite["name"]
    assert load_suite(write("other.yaml", tiny_suite)).name == "other"


def test_options_are_part_of_a_discretizers_label():
    assert component_label("zoh") == "zoh"
    assert component_label({"name": "gbt", "alpha": 0.3}) == "gbt(alpha=0.3)"


REFUSED = {
    "unknown key": ({"variant": {}}, "unknown key 'variant': did you mean 'variants'"),
    "no variants": ({"variants": None}, "variants: must map labels"),
    "empty tasks": ({"tasks": {}}, "tasks: must map labels"),
    "tasks as a list": ({"tasks": ["digits"]}, "tasks: must map labels"),
    "variant as text": ({"variants": {"S4D": "s4d"}}, "variants: must map labels"),
    "discretizer as text": (
        {"variants": {"S4D": {"discretizers": "zoh"}}},
        "discretizers: must be all or a list",
    ),
    "no discretizer": ({"variants": {"S4D": {"discretizers": []}}}, "must be all or a list"),
    "unknown discretizer": (
        {"variants": {"S4D": {"discretizers": ["zho"]}}},
        "unknown discretizer 'zho': did you mean 'zoh'",
    ),
    "no seeds": ({"seeds": 0}, "seeds: must be a list"),
    "negative seed": ({"seeds": [-1]}, "seeds: must be a list"),
    "seed as a fraction": ({"seeds": [0.5]}, "seeds: must be a list"),
    "seed twice": ({"seeds": [0, 0]}, "two runs are called"),
    "base as a list": ({"base": [1]}, "base: must be a part"),
    "a number for a section": ({"base": {"model": 1e18}}, "base: .*1e\\+18"),
    "a place outside": ({"name": "../../x"}, r"name '\.\./\.\./x': must not contain '/'"),
    "a label too long": ({"variants": {"a" * 300: {}}}, "at most 255 bytes, not 300"),
    "two parts too long": (
        {"variants": {"a" * 250: {"model": {"parametrization": "s4d", "discretizer": "zoh"}}}},
        "at most 255 bytes, not 257",
    ),
    "folder in a label": ({"variants": {"a/b": {}}}, "label 'a/b'"),
    "parent in a label": ({"tasks": {"..": {"task": "digits"}}}, r"label '\.\.'"),
    "unknown key in a run": ({"base": {"modle": {}}}, "base: .*modle"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_suite_is_refused_in_one_line(what, write, tiny_suite):
    change, message = REFUSED[what]
    with pytest.raises(UsageError, match=message) as error:
        load_suite(write("suite.yaml", tiny_suite | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "variant=x",
        "task=digits",
        "model.parametrization=s4d",
        "model.parametrization.name=s4d",
        "model.discretizer=zoh",
        "model.discretizer=null",
    ],
)
def test_an_override_that_would_make_labels_lie_is_refused(override, write, tiny_suite):
    with pytest.raises(UsageError, match="override"):
        load_suite(write("suite.yaml", tiny_suite), [override])


ZOO = Path(__file__).parents[2] / "configs" / "suites" / "zoo.yaml"


def built_in(kind):
    return {e.name: e.factory for e in kind if e.factory.__module__.startswith("ssmbench.")}


def test_the_zoo_has_every_built_in_pair_or_says_why_not():
    suite = load_suite(ZOO)
    found = {
        (cell.config["model"]["parametrization"]["name"], cell.discretizer) for cell in suite.cells
    }
    refused = {(refusal.variant, refusal.discretizer) for refusal in suite.refused}
    methods = set(built_in(registry.discretizers))
    assert all("\n" not in refusal.reason and refusal.reason for refusal in suite.refused)
    for name, kind in built_in(registry.parametrizations).items():
        wanted = methods if kind.is_continuous() else {"none"}
        assert {d for p, d in found | refused if p == name} >= wanted
    assert not found & refused


def test_all_discretizers_of_what_takes_none_are_refused(tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text(
        "tasks: {digits: {task: digits}}\n"
        "variants: {a: {model: {parametrization: l2ru}, discretizers: all}}\n"
    )
    with pytest.raises(UsageError, match="takes none") as caught:
        load_suite(file)
    assert "\n" not in str(caught.value)


# --- one run of a suite ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "seed"), [("digits/L2RU", 0), ("digits/L2RU-s1", 1), ("digits/S4D-Lin-tustin-s1", 1)]
)
def test_one_run_is_that_of_the_grid(quickstart, root, label, seed):
    cell = load_cell(root / "configs" / "suites" / "quickstart.yaml", label)
    assert cell in quickstart.cells
    assert cell.seed == seed
    assert cell.label.startswith(label)


def test_overrides_of_one_run(root):
    file = root / "configs" / "suites" / "quickstart.yaml"
    assert load_cell(file, "digits/L2RU", {"batch_size": 3}).config["batch_size"] == 3


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("digits/S4D-Lin", "several runs are called 'digits/S4D-Lin'; digits/S4D-Lin-zoh, "),
        ("digits/L2U", "no run is called 'digits/L2U'; did you mean 'digits/L2RU'"),
    ],
)
def test_a_label_of_no_run_or_of_several(root, label, message):
    with pytest.raises(UsageError, match=message):
        load_cell(root / "configs" / "suites" / "quickstart.yaml", label)
