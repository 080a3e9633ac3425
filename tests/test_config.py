"""Configs: merged, checked, resolved and named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.config import (
    NOT_FINGERPRINTED,
    ModelConfig,
    RunConfig,
    build,
    fingerprint,
    leaves,
    load_run,
    merge,
    parse_overrides,
    ranks,
    read_yaml,
    resolve,
    typed,
)
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import NormPosition, Residual
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.pooling import Pooling
from ssmbench.options import declared
from ssmbench.tasks.data import DATA_VARIABLE
from ssmbench.yamlio import dump_yaml

pytestmark = pytest.mark.usefixtures("workplace")

in_one_workplace = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- merging ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        (
            {"p": {"name": "s4d", "d_state": 4}},
            {"p": {"name": "l2ru"}},
            {"p": {"name": "l2ru"}},
        ),
        (
            {"p": {"name": "s4d", "d_state": 4}},
            {"p": {"name": "s4d", "init": "inv"}},
            {"p": {"name": "s4d", "d_state": 4, "init": "inv"}},
        ),
        (
            {"p": {"name": "s4d", "d_state": 4}},
            {"p": {"d_state": 8}},
            {"p": {"name": "s4d", "d_state": 8}},
        ),
        ({"p": {"name": "s4d", "d_state": 4}}, {"p": "l2ru"}, {"p": {"name": "l2ru"}}),
        (
            {"p": {"name": "s4d", "d_state": 4}},
            {"p": "s4d"},
            {"p": {"name": "s4d", "d_state": 4}},
        ),
        ({"p": "s4d"}, {"p": {"d_state": 8}}, {"p": {"name": "s4d", "d_state": 8}}),
        ({"p": "s4d"}, {"p": {"name": "l2ru", "gamma": 2}}, {"p": {"name": "l2ru", "gamma": 2}}),
        ({"p": {"name": "zoh"}}, {"p": None}, {"p": None}),
        ({"p": None}, {"p": "zoh"}, {"p": "zoh"}),
    ],
)
def test_merge(base, over, merged):
    kept = repr(base)
    assert merge(base, over) == merged
    assert repr(base) == kept, "merge must not change its arguments"


def test_overrides_are_typed_nested_and_ordered():
    given_ = ["model.d_model=64", "optimizer.lr=1e-3", "model.discretizer=null", "batch_size=1"]
    assert parse_overrides([*given_, "batch_size=2", "variant=a=b"]) == {
        "model": {"d_model": 64, "discretizer": None},
        "optimizer": {"lr": 1e-3},
        "batch_size": 2,
        "variant": "a=b",
    }


@pytest.mark.parametrize("argument", ["batch_size", "=3", "", "a=[1", "a={", "a=${"])
def test_an_override_that_is_none_is_refused(argument):
    with pytest.raises(UsageError, match="override"):
        parse_overrides([argument])


# --- what is refused ----------------------------------------------------------------------------

REFUSED = {
    "batchsize": ({"batchsize": 3}, "batchsize.*'batch_size'"),
    "unknown, nested": ({"model": {"d_modl": 3}}, "model.d_modl.*'d_model'"),
    "unknown option": (
        {"model": {"parametrization": {"name": "s4d", "d_stat": 3}}},
        r"model\.parametrization \(s4d\).*d_stat.*'d_state'",
    ),
    "unknown component": ({"model": {"parametrization": "s4dd"}}, "'s4dd'.*did you mean 's4d'"),
    "unknown task": ({"task": "digit"}, "unknown task 'digit'.*'digits'"),
    "unknown choice": (
        {"model": {"parametrization": {"name": "s4d", "init": "linn"}}},
        "init.*linn.*lin, inv, legs, real",
    ),
    "text for a number": ({"batch_size": "many"}, "batch_size.*many"),
    "fraction for a whole number": ({"model": {"d_model": 1.5}}, r"model.d_model.*1\.5"),
    "number for a section": ({"model": 3}, "ModelConfig"),
    "list for a component": ({"task": [1]}, "task: must be a task's name"),
    "number for a component": ({"optimizer": 3}, "optimizer: must be an optimizer's name"),
    "unknown optimizer": ({"optimizer": "adamx"}, "unknown optimizer 'adamx'.*'adamw'"),
    "option of another optimizer": (
        {"optimizer": {"lr": 0.1, "nesterov": True}},
        r"optimizer \(adamw\).*nesterov",
    ),
    "component without a name": (
        {"model": {"discretizer": {"alpha": 1}}},
        "model.discretizer: must be a discretizer's name",
    ),
    "no task": ({"task": None}, "task: needs a task"),
    "no parametrization": ({"model": {"parametrization": None}}, "needs a parametrization"),
    "no scan": ({"model": {"scan": None}}, "model.scan: needs a scan"),
    "no nonlinearity": ({"model": {"nonlinearity": None}}, "model.nonlinearity: needs"),
    "NaN": ({"optimizer": {"lr": math.nan}}, "optimizer.lr: is NaN"),
    "NaN in an option": (
        {"model": {"parametrization": {"name": "l2ru", "gamma": math.nan}}},
        "model.parametrization.gamma: is NaN",
    ),
    "NaN for the trainer": ({"trainer": {"gradient_clip_val": math.nan}}, "is NaN"),
    "no layers": ({"model": {"n_layers": 0}}, "model.n_layers: must be positive, got 0"),
    "no width": ({"model": {"d_model": -1}}, "model.d_model: must be positive, got -1"),
    "no batch": ({"batch_size": 0}, "batch_size: must be positive, got 0"),
    "no attack": ({"analysis": {"attack_restarts": 0}}, "attack_restarts: must be positive"),
    "no attack steps": ({"analysis": {"attack_steps": -1}}, "attack_steps: must be positive"),
    "negative rate": ({"optimizer": {"lr": -1.0}}, "optimizer.lr: must be finite and not neg"),
    "infinite rate": ({"optimizer": {"ssm_lr": math.inf}}, "optimizer.ssm_lr: is infinite"),
    "growing weights": ({"optimizer": {"weight_decay": -1.0}}, "weight_decay: must be"),
    "warm-up": ({"optimizer": {"warmup_fraction": 5.0}}, r"warmup_fraction: must be in \[0, 1\]"),
    "dropout": ({"model": {"dropout": 1.0}}, r"model.dropout: must be in \[0, 1\)"),
    "negative dropout": ({"model": {"dropout": -0.1}}, r"model.dropout: must be in \[0, 1\)"),
    "negative seed": ({"seed": -1}, "seed: must be from 0"),
    "huge seed": ({"seed": 2**32}, "seed: must be from 0"),
    "dangling reference": ({"variant": "${nowhere}"}, "variant.*nowhere"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_config_is_refused_in_one_line_that_says_where(what):
    config, message = REFUSED[what]
    with pytest.raises(UsageError, match=message) as error:
        resolve(config, "mine.yaml")
    assert "\n" not in str(error.value)


def test_the_refusal_names_the_file(write):
    with pytest.raises(UsageError, match=r"^.*run\.yaml: batch_size: "):
        load_run(write("run.yaml", {"batch_size": 0}))


def test_a_rate_of_zero_is_allowed():
    assert resolve({"optimizer": {"ssm_lr": 0}})["optimizer"]["ssm_lr"] == 0.0


def test_an_optimizer_without_a_name_is_adamw():
    """As in configs from before there were others."""
    given = {"lr": 0.1, "weight_decay": 0.0}
    assert resolve({"optimizer": given}) == resolve({"optimizer": {"name": "adamw", **given}})
    assert resolve({"optimizer": given})["optimizer"]["name"] == "adamw"
    named = merge({"optimizer": given}, {"optimizer": {"name": "adamw"}})
    assert resolve(named) == resolve({"optimizer": given}), "the name alone changes nothing"
    other = resolve(merge({"optimizer": given}, {"optimizer": {"name": "sgd"}}))
    assert other == resolve({"optimizer": "sgd"}), "another optimizer has options of its own"


# --- files --------------------------------------------------------------------------------------

BAD_FILES = {
    "syntax": ("task: digits\nmodel: [1\n", r"bad\.yaml line 3: not YAML"),
    "tab": ("task:\n\tname: digits\n", r"bad\.yaml line 2: not YAML"),
    "duplicate key": ("seed: 1\nseed: 2\n", r"bad\.yaml line 2: not YAML: found duplicate key"),
    "list": ("- task\n- digits\n", "must hold a mapping"),
    "number": ("3\n", r"bad\.yaml"),
    "empty": ("", "must hold a mapping"),
    "comment": ("# nothing\n", "must hold a mapping"),
    "cycle": ("variant: &x [*x]\n", r"bad\.yaml line 1: not YAML"),
    "object": ("variant: !!python/object:os.system 3\n", "not YAML"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_refused_in_one_short_line(what, write):
    text, message = BAD_FILES[what]
    with pytest.raises(UsageError, match=message) as error:
        load_run(write("bad.yaml", text))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_missing_file_a_folder_and_a_binary_are_refused(workplace):
    (workplace / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", ".", "binary.yaml"):
        with pytest.raises(UsageError, match=name):
            read_yaml(name)


def test_numbers_with_exponents_are_numbers_in_files_too(write):
    file = write("run.yaml", "trainer: {gradient_clip_val: 1e-3}\noptimizer: {lr: 1e-3}\n")
    config = load_run(file)
    assert config["trainer"]["gradient_clip_val"] == 1e-3
    assert config["optimizer"]["lr"] == 1e-3


def test_a_label_that_looks_like_a_date_is_a_label(write):
    assert load_run(write("run.yaml", "variant: 2020-01-01\n"))["variant"] == "2020-01-01"


def test_overrides_win_over_the_file(write):
    file = write("run.yaml", {"seed": 1, "model": {"parametrization": {"name": "s4d"}}})
    config = load_run(file, ["seed=2", "model.parametrization=l2ru"])
    assert config["seed"] == 2
    assert config["model"]["parametrization"]["name"] == "l2ru"


RUN_CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "runs").rglob("*.yaml"))


@pytest.mark.parametrize("file", RUN_CONFIGS, ids=lambda file: file.stem)
def test_every_run_config_that_is_shipped_resolves(file, root, monkeypatch):
    monkeypatch.chdir(root)  # its plugins are in ./plugins
    resolved = resolve(read_yaml(file))
    assert resolve(resolved) == resolved, "what is resolved stays as it is"


# --- resolved configs ---------------------------------------------------------------------------


def test_a_resolved_config_spells_every_option_out():
    config = resolve({"model": {"parametrization": "l2ru"}})
    options = registry.describe(registry.parametrizations.get("l2ru"))["options"]
    assert config["model"]["parametrization"] == {"name": "l2ru", **options}
    assert set(config) == set(RunConfig.__dataclass_fields__)


def test_resolving_twice_changes_nothing():
    once = resolve({"model": {"parametrization": "s4d", "discretizer": "zoh"}})
    assert resolve(once) == once


def test_typed_and_build_give_the_objects_that_a_config_describes():
    config = typed(resolve({"seed": 3, "model": {"nonlinearity": "relu"}}))
    assert config.seed == 3
    built = build(registry.nonlinearities, config.model.nonlinearity, d_model=4)
    assert type(built).__name__ == "ReLU"


def test_every_place_that_a_kind_declares_is_in_the_config():
    config = resolve({})
    for kind in registry.KINDS.values():
        for place in kind.places:
            section, _, key = place.path.rpartition(".")
            found = (config[section] if section else config)[key]
            assert (found and found["name"]) == place.default, place


# --- fingerprints -------------------------------------------------------------------------------


def _reversed(value):
    if not isinstance(value, dict):
        return value
    return {key: _reversed(inner) for key, inner in reversed(value.items())}


def _changed(value):
    if isinstance(value, bool):
        return not value
    return f"{value}x" if isinstance(value, str) else (value or 0) + 1


def test_the_order_of_keys_does_not_change_the_fingerprint():
    config = resolve({"model": {"parametrization": "l2ru"}})
    assert fingerprint(_reversed(config)) == fingerprint(config)


def test_every_option_is_in_the_fingerprint_but_labels_and_places():
    trainer = {"max_epochs": 1, "max_time": "00:01:00:00", "timeout": "00:00:10:00"}
    base = resolve({"task": "cascaded_tanks", "trainer": trainer})
    without_effect = set()
    for path, value in leaves(base):
        change = _changed(value)
        for key in reversed(path.split(".")):
            change = {key: change}
        if fingerprint(merge(base, change)) == fingerprint(base):
            without_effect.add(path)
    assert without_effect == set(NOT_FINGERPRINTED)


def test_spelling_a_default_out_does_not_change_the_fingerprint():
    spelt = {"model": {"parametrization": {"name": "s4d", "d_state": 64}, "d_model": 32}}
    assert fingerprint(resolve(spelt)) == fingerprint(resolve({}))


def test_the_data_that_a_run_sees_are_in_its_name(write, monkeypatch):
    folder = write("data/sysid/dataBenchmark.csv", "").parents[1]
    simulated = resolve({"task": "cascaded_tanks"})
    by_folder = resolve({"task": {"name": "cascaded_tanks", "data_dir": str(folder)}})
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    by_variable = resolve({"task": "cascaded_tanks"})
    found = [c["task"]["records"] for c in (simulated, by_folder, by_variable)]
    assert found == ["simulation", "published", "published"]
    assert fingerprint(by_folder) == fingerprint(by_variable) != fingerprint(simulated)


@pytest.mark.parametrize("records", ["auto", "published"])
def test_a_data_folder_that_is_not_there_is_refused(records, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, "nowhere")
    with pytest.raises(UsageError, match="'nowhere': no such folder"):
        resolve({"task": {"name": "cascaded_tanks", "records": records}})


def _named(kind: registry.Registry) -> st.SearchStrategy[str]:
    return st.deferred(lambda: st.sampled_from(kind.names()))


CONFIGS = st.fixed_dictionaries(
    {
        "variant": st.text(st.characters(codec="ascii", exclude_characters="$"), max_size=8),
        "task": _named(registry.tasks),
        "seed": st.integers(0, 2**32 - 1),
        "model": st.fixed_dictionaries(
            {
                "parametrization": _named(registry.parametrizations),
                "discretizer": st.none() | _named(registry.discretizers),
                "nonlinearity": _named(registry.nonlinearities),
                "norm": _named(registry.norms),
                "dropout": st.floats(0, 0.99),
            }
        ),
        "optimizer": st.fixed_dictionaries({"lr": st.floats(0, 1e3)}),
        "trainer": st.dictionaries(
            st.sampled_from(["gradient_clip_val", "max_time", "strategy"]),
            st.floats(0, 1) | st.sampled_from(["1e3", "null", "true", "00:01:00:00", "ddp"]),
        ),
    }
)


@in_one_workplace
@given(CONFIGS)
def test_a_stored_config_is_read_back_as_the_same_run(workplace, raw):
    config = resolve(raw)
    file = workplace / "stored.yaml"
    file.write_text(dump_yaml(config))
    again = load_run(file)
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_every_combination_in_the_registry_has_a_fingerprint_of_its_own():
    kinds = (registry.parametrizations, registry.discretizers, registry.nonlinearities)
    names = [kind.names() for kind in kinds]
    # each entry beside the first of the other kinds, and all pairs of the last two
    chosen = {(p, names[1][0], names[2][0]) for p in names[0]}
    chosen |= {(names[0][0], d, n) for d in names[1] for n in names[2]}
    marks = set()
    for parametrization, discretizer, nonlinearity in chosen:
        model = {
            "parametrization": parametrization,
            "discretizer": discretizer,
            "nonlinearity": nonlinearity,
        }
        marks.add(fingerprint(resolve({"model": model})))
    assert len(marks) == len(chosen)


def test_every_entry_in_the_registry_is_read_back_as_the_same_run(workplace):
    file = workplace / "stored.yaml"
    for kind in ("parametrization", "discretizer", "nonlinearity", "norm"):
        for name in registry.get_kind(kind).names():
            config = resolve({"model": {"discretizer": "zoh", kind: name}})
            file.write_text(dump_yaml(config))
            assert fingerprint(resolve(yaml.safe_load(file.read_text()))) == fingerprint(config)


# --- choices and ranges that several places need --------------------------------------------------


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("norm_position", NormPosition),
        ("pooling", Pooling),
        ("residual", Residual),
        ("initial_state", InitialState),
    ],
)
def test_the_choices_of_a_network_are_those_of_its_parts(option, choices):
    (limit,) = declared(ModelConfig)[option]
    assert set(limit.names) == {member.name for member in choices}
    with pytest.raises(UsageError, match=rf"model\.{option}: 'other' is not a choice; known: "):
        resolve({"model": {option: "other"}})


@pytest.mark.parametrize(
    ("trainer", "processes"),
    [
        ({"devices": 1}, 1),
        ({"devices": "2", "num_nodes": 3}, 6),
        ({"devices": "auto"}, None),
        ({"devices": [0]}, None),
        ({"devices": -1}, None),
        ({"devices": 2, "num_nodes": "many"}, None),
        ({}, None),
    ],
)
def test_processes_of_a_run(trainer, processes):
    assert ranks(trainer) == processes
