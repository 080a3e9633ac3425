"""The command line: what each verb prints, and how it answers what it cannot use."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmbench.registry import KINDS
from ssmbench.tasks.data import DATA_VARIABLE
from tests.strict_json import strict_json

the_json = strict_json


def one_error(answer) -> str:
    """The message of a refusal: exit code 2, one line on stderr, nothing on stdout."""
    assert answer.code == 2, answer
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert "Traceback" not in answer.err
    return lines[0].removeprefix("error: ")


@pytest.fixture
def matrices(workplace):
    """Save an .npz file: a stable discrete system with gain 2 at zero frequency, but for ...."""

    def save(name: str = "system.npz", without: str = "", **changes: Any) -> str:
        half, zero = np.array([[0.5]]), np.array([[0.0]])
        content = {"A": half, "B": half, "C": 2 * half, "D": zero + 1, "dt": 1.0} | changes
        np.savez(workplace / name, **{k: v for k, v in content.items() if k != without})
        return name

    return save


# --- answers ------------------------------------------------------------------------------------


def test_list_gives_every_kind(ssmbench):
    entries = the_json(ssmbench("list", "--json").out)["entries"]
    kinds = {entry["kind"] for entry in entries}
    assert kinds == set(KINDS)
    assert {"name", "summary", "origin"} <= set(entries[0])


def test_list_of_one_kind_and_as_a_table(ssmbench):
    names = [e["name"] for e in the_json(ssmbench("list", "tasks", "--json").out)["entries"]]
    table = ssmbench("list", "tasks").out
    some = ssmbench("list", "tasks", "di*s", "--json").out
    assert [e["name"] for e in the_json(some)["entries"]] == ["digits"]
    assert names == sorted(entry.name for entry in KINDS["task"])
    assert {"cascaded_tanks", "digits", "mnist"} <= set(names)
    assert all(name in table for name in names)


def test_list_tells_which_plugins_failed(ssmbench, write):
    file = write("plugins/broken.py", "raise ValueError('planted')")
    reason = "ValueError: planted (plugins/broken.py:1)"
    assert f"plugin failed: {file}: {reason}" in ssmbench("list").err
    answer = ssmbench("list", "--json")
    failed = [{"plugin": str(file), "reason": reason}]
    assert (answer.code, the_json(answer.out)["failed_plugins"]) == (0, failed)


def test_why_a_plugin_failed_is_said_once(ssmbench, write):
    file = write("plugins/broken.py", "raise ValueError('planted')")
    answer = ssmbench("show", "parametrization", "planted")
    assert answer.code == 2
    assert answer.err.count("ValueError: planted") == 1
    assert f"(plugins that failed to import: {file})" in answer.err


def test_what_a_plugin_prints_stays_out_of_the_json(ssmbench, write):
    write("plugins/chatty.py", "print('hello')")
    answer = ssmbench("list", "--json")
    assert answer.code == 0
    assert {"entries", "failed_plugins"} == set(the_json(answer.out))
    assert "hello" in answer.err.splitlines()


@pytest.mark.parametrize("before", [True, False], ids=["before the verb", "after the verb"])
@pytest.mark.parametrize("call", [("list",), ("show", "task", "digits"), ("doctor",)])
def test_a_verb_names_the_plugins_that_it_ran(call, before, ssmbench, write):
    write("plugins/quiet.py", "")
    write("elsewhere/other.py", "")
    option = ("--plugins", "elsewhere")
    answer = ssmbench(*option, *call) if before else ssmbench(*call, *option)
    (line,) = (line for line in answer.err.splitlines() if line.startswith("plugins: "))
    assert line.startswith("plugins: quiet from ./plugins; other from ")
    assert line.endswith("/elsewhere")


def test_show_gives_options_facts_and_source(ssmbench):
    about = the_json(ssmbench("show", "parametrization", "l2ru", "--json").out)
    assert about["options"]["gamma"] == 1.0
    assert about["facts"]["time_domain"] == "discrete"
    assert "l2ru.py:" in about["origin"]
    assert "gamma" in ssmbench("show", "parametrizations", "l2ru").out


def test_run_trains_measures_and_stores(ssmbench, write, tiny, workplace):
    file = write("mine.yaml", tiny)
    answer = ssmbench("run", file, "seed=3", "--output", "out", "--json")
    result = the_json(answer.out)
    assert (answer.code, result["status"], result["seed"]) == (0, "finished", 3)
    folder = workplace / result["folder"]
    assert json.loads((folder / "result.json").read_text())["scores"] == result["scores"]
    again = ssmbench("run", file, "seed=3", "--output", "out", "--json")
    assert the_json(again.out) == result, "a complete run is not run again"
    shown = ssmbench("run", file, "seed=3", "--output", "out").out
    assert "verified" in shown
    for kind in ("random", "adversarial"):
        assert f"test accuracy, {kind} disturbance of 0.1" in shown


def test_run_says_that_a_run_is_complete_and_runs_it_again_by_force(ssmbench, write, tiny):
    file = write("mine.yaml", tiny)
    folder = Path(the_json(ssmbench("run", file, "-o", "out", "--json").out)["folder"])
    time = (folder / "result.json").stat().st_mtime_ns
    again = ssmbench("run", file, "-o", "out")
    assert again.err == "mine: already complete, nothing to do (force runs it again)\n"
    assert (folder / "result.json").stat().st_mtime_ns == time
    assert ssmbench("run", file, "-o", "out", "--force").code == 0
    assert (folder / "result.json").stat().st_mtime_ns > time


BOASTFUL = '''
from ssmbench.parametrizations.s4d import S4D, S4DConfig
from ssmbench.registry import parametrizations


@parametrizations.register("boastful", config=S4DConfig)
class Boastful(S4D):
    """S4D with a declared gain that is far too small."""

    def declared_gain(self):
        return 0.01
'''


def test_a_violated_gain_is_a_warning_and_no_failure(ssmbench, write, tiny):
    write("plugins/boastful.py", BOASTFUL)
    tiny["model"] |= {
        "parametrization": {"name": "boastful", "d_state": 4},
        "discretizer": "tustin",
    }
    for flags in ((), ("--json",)):
        answer = ssmbench("run", write("mine.yaml", tiny), "-o", "out", *flags)
        warnings = [line for line in answer.err.splitlines() if line.startswith("warning: ")]
        assert (answer.code, len(warnings)) == (0, 1)
        assert re.search(r"layer 0: verified \S+ > declared 0.01", warnings[0])
        assert "\x1b" not in answer.err, "no colours where there is no terminal"
    assert "violations" in the_json(answer.out)["gain"]


def test_run_takes_the_name_of_a_bundled_config(ssmbench, workplace):
    answer = ssmbench("run", "digits_s4d", "model.d_model=8", "--dry-run", "--json")
    assert the_json(answer.out)["config"]["model"]["d_model"] == 8
    message = one_error(ssmbench("run", "digits_s4"))
    assert "no bundled config of that name; did you mean 'digits_s4d'" in message


def test_suite_takes_a_launcher_and_runs_again_by_force(ssmbench, write, tiny_suite):
    call = ("suite", write("small.yaml", tiny_suite), "-o", "out", "--launcher", "inline")
    assert ssmbench(*call, "--json").code == 0
    assert "nothing to run: every run is complete" in ssmbench(*call).err
    assert "[2/2]" in ssmbench(*call, "--force").err
    assert "unknown launcher 'inlin': did you mean 'inline'" in one_error(
        ssmbench(*call[:-1], "inlin")
    )


def test_run_shows_plain_lines_where_there_is_no_terminal(ssmbench, write, tiny):
    answer = ssmbench("run", write("mine.yaml", tiny), "--output", "out")
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("mine ")
    assert "epoch 1/1" in answer.err


def test_a_run_that_crashes_exits_with_1_and_json(ssmbench, write, tiny):
    write("plugins/planted.py", RAISING)
    tiny["model"]["nonlinearity"] = "raises"
    answer = ssmbench("run", write("mine.yaml", tiny), "--output", "out", "--json")
    said = the_json(answer.out)
    assert (answer.code, said["status"]) == (1, "failed")
    assert said["reason"].startswith(
        "RuntimeError: planted crash (plugins/planted.py:12 in forward; "
    )
    assert said["reason"].endswith("error.txt)")
    assert "noise" in answer.err
    assert "Traceback" not in answer.err


RAISING = '''
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities


@nonlinearities.register("raises")
class Raises(Nonlinearity):
    """Crashes, and talks."""

    def forward(self, x):
        print("noise")
        raise RuntimeError("planted crash")
'''


def test_a_run_that_diverges_is_a_result(ssmbench, write, tiny):
    tiny["model"] |= {
        "parametrization": {"name": "s4d", "d_state": 4, "dt_min": 5.0, "dt_max": 5.0},
        "discretizer": "forward_euler",
    }
    answer = ssmbench("run", write("mine.yaml", tiny), "--output", "out", "--json")
    result = the_json(answer.out)
    assert (answer.code, result["status"], result["diverged_at"]) == (0, "diverged", 0)


def test_gain_of_a_run_is_what_its_result_says(ssmbench, write, tiny):
    run = the_json(ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json").out)
    gains = the_json(ssmbench("gain", run["folder"], "--json").out)
    for key in ("declared", "verified", "attacked", "spectral_radius"):
        assert gains[key] == run["gain"][key]
    assert gains["network_bound"] == run["gain"]["network"]["bound"]
    assert "verified" in ssmbench("gain", run["folder"]).out


def test_gain_attacks_the_network_of_a_run(ssmbench, write, tiny, workplace):
    run = the_json(ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json").out)
    budget = ("--attack-steps", "3", "--attack-restarts", "4", "--seed", "2")
    found = the_json(ssmbench("gain", run["folder"], "--attack", *budget, "--json").out)
    assert (found["attack_steps"], found["attack_restarts"], found["attack_seed"]) == (3, 4, 2)
    assert found["gain"]["verified"] == run["gain"]["verified"]
    with np.load(workplace / found["worst_input"]) as saved:
        assert saved["gain"] == found["gain"]["network"]["attacked"]
    answer = ssmbench("gain", run["folder"], "--attack", *budget)
    assert answer.code == 0
    verb = ("attack", run["folder"], "--steps", "3", "--restarts", "4", "--seed", "2")
    assert ssmbench(*verb).out == answer.out
    assert re.search(r"layer 0 +none +\S+ +\S+", answer.out)
    assert re.search(r"network +none +\S+ +\S+", answer.out)
    assert "zero-state:     no such gain, because ||f(0)|| is" in answer.out


def test_an_attack_says_why_there_is_no_bound(ssmbench, write, tiny):
    tiny["model"] |= {"norm": "layer"}
    run = the_json(ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json").out)
    out = ssmbench("gain", run["folder"], "--attack").out
    assert "network bound:  none is finite, because LayerNorm divides by" in out


def test_gain_of_a_discrete_system(ssmbench, matrices):
    answer = ssmbench("gain", matrices(), "--json", "--horizon", "1")
    figures = the_json(answer.out)
    assert figures["stable"] is True
    assert figures["hinf"] == pytest.approx(2.0)
    assert 2.0 <= figures["hinf_upper_bound"] <= 2.02
    assert figures["h2"] == pytest.approx(2 / math.sqrt(3))
    assert figures["peak_frequency"] == pytest.approx(0.0, abs=1e-6)
    assert figures["spectral_radius"] == pytest.approx(0.5)
    assert (figures["horizon"], figures["horizon_gain"]) == (1, pytest.approx(1.0))
    assert "spectral_abscissa" not in figures


@pytest.mark.parametrize("step", [None, 0.0])
def test_gain_of_a_continuous_system(step, ssmbench, matrices):
    A = np.array([[-0.5]])
    name = matrices(A=A, **({"without": "dt"} if step is None else {"dt": step}))
    figures = the_json(ssmbench("gain", name, "--json").out)
    assert figures["hinf"] == pytest.approx(2.0)
    assert figures["spectral_abscissa"] == pytest.approx(-0.5)
    assert "spectral_radius" not in figures


@pytest.mark.parametrize("pole", [1.0, 2.0])
def test_an_unstable_system_says_so(pole, ssmbench, matrices):
    answer = ssmbench("gain", matrices(A=np.array([[pole]])), "--json")
    figures = the_json(answer.out)
    assert (answer.code, figures["stable"], figures["hinf"]) == (0, False, math.inf)
    assert '"hinf": "inf"' in answer.out


def test_doctor_looks_at_everything(ssmbench):
    answer = ssmbench("doctor", "--json")
    said = the_json(answer.out)
    checks = {check["name"]: check for check in said["checks"]}
    assert answer.code == (0 if said["ok"] else 1)
    assert {"python", "torch", "gpu", "plugins", "data folder", "scan reference"} <= set(checks)
    assert checks["scan cpu"]["ok"]
    assert "torch" in ssmbench("doctor").out


@pytest.mark.parametrize("trouble", ["plugin", "data"])
def test_doctor_finds_trouble(trouble, ssmbench, write, monkeypatch):
    if trouble == "plugin":
        write("plugins/broken.py", "raise ValueError('planted')")
    else:
        monkeypatch.setenv(DATA_VARIABLE, "nowhere")
    answer = ssmbench("doctor", "--json")
    bad = [check["found"] for check in the_json(answer.out)["checks"] if not check["ok"]]
    assert answer.code == 1
    assert any("planted" in found or "nowhere" in found for found in bad)


def test_report_writes_the_report_of_a_suite_again(ssmbench, workplace):
    runs = workplace / "runs" / "abc"
    runs.mkdir(parents=True)
    cell = {"task": "t", "variant": "v", "discretizer": "none", "seed": 0, "fingerprint": "abc"}
    suite = {"name": "s", "cells": [cell | {"label": "t/v-s0"}]}
    (workplace / "suite.json").write_text(json.dumps(suite))
    said = the_json(ssmbench("report", ".", "--json").out)
    assert said["rows"][0]["outcome"] == "missing"
    assert said["robustness"] == []
    assert (workplace / said["files"]["markdown"]).exists()
    assert "missing" in ssmbench("report", ".").out


# --- refusals -----------------------------------------------------------------------------------

BAD_OVERRIDES = {
    "trainer.limit_val_batches=0": "trainer.limit_val_batches: must be",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch: must be .* at least 1",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches: must be .* at least 1",
    "task.split_seed=-1": "task.split_seed: must be from 0",
    "trainer.deterministic=abc": "trainer.deterministic: must be true or false or warn",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val: must be a number of at least 0",
    "trainer.max_time=-5": "trainer.max_time: must be a positive duration",
    "trainer.max_time={hours: -5}": "trainer.max_time: must be a positive duration",
    "trainer.accelerator=tpu": "trainer: .*torch_xla",
    "model.d_model=!!float x": "could not convert string to float",
    "model.d_model='???'": "model.d_model: is '\\?\\?\\?'",
    "model.d_model=1e18": "model.d_model",
    "batchsize=3": "batchsize: .*'batch_size'",
    "model.d_modl=3": "model.d_modl: .*'d_model'",
    "batch_size=many": "batch_size: .*many",
    "batch_size=.nan": "batch_size",
    "optimizer.lr=.nan": "optimizer.lr: is NaN",
    "optimizer.lr=-1": "optimizer.lr: must be",
    "model.n_layers=0": "model.n_layers: must be positive",
    "model.dropout=1.5": "model.dropout: must be",
    "model.norm=bach": "unknown norm 'bach': did you mean 'batch'",
    "model.norm.eps=1": "norm",
    "model.norm_position=mid": "model.norm_position: 'mid' is not a choice; known: post, pre",
    "model.pooling=max": "model.pooling: 'max'",
    "model.parametrization=s4dd": "unknown parametrization 's4dd': did you mean 's4d'",
    "model.parametrization=l2ru": "takes no discretizer: its gain bound is a statement about",
    "model.parametrization.d_state=3": "parametrization s4d: d_state must be even",
    "model.discretizer=null": "needs a discretizer",
    "model.scan=null": "model.scan: needs a scan",
    "seed=-1": "seed",
    "batch_size": "'batch_size': must be key=value",
    "trainer.max_epoch=1": "trainer.max_epoch: no such Trainer argument; did you mean 'max_epo",
    "trainer.logger=true": "trainer.logger: is set by ssmbench itself",
    "trainer.max_epochs=abc": "trainer.*abc",
    "trainer.max_epochs=-5": "trainer.max_epochs: must be a whole number of at least -1, got -5",
    "trainer.precision=nonsense": "trainer.precision: 'nonsense' is not a choice; known: 16-mi",
    "trainer.precision=16-true": "trainer.precision",
    "trainer.accelerator=qpu": "trainer.accelerator: 'qpu' is not a choice; .*'gpu'",
    "trainer.strategy=foo": "trainer.strategy: 'foo' is not a choice",
    "trainer.devices=0": "trainer.devices: must be auto, a whole number of at least 1",
    "trainer.devices=-3": "trainer.devices: must be auto, a whole number of at least 1",
    "trainer.devices=100000000": "trainer.devices: 100000000 processes",
    "task=digit": "unknown task 'digit'",
    "task.val_images=2000": "digits: .*training must be at least",
    "batch_size=100000": "batch_size 100000 .* more than the 1197 training sequences",
    "task={name: cascaded_tanks, data_dir: nowhere}": "data_dir 'nowhere': no such folder",
    "task={name: cascaded_tanks, records: published}": "needs the data folder",
}


@pytest.mark.parametrize("override", BAD_OVERRIDES)
def test_run_refuses_a_bad_setting(override, ssmbench, write, tiny, workplace):
    message = one_error(ssmbench("run", write("mine.yaml", tiny), override, "-o", "out"))
    assert re.search(BAD_OVERRIDES[override], message), message
    assert not list(workplace.rglob("result.json"))


def test_run_refuses_data_that_are_not_there(ssmbench, write, tiny, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, "nowhere")
    file = write("mine.yaml", tiny | {"task": "cascaded_tanks"})
    assert "SSMBENCH_DATA 'nowhere': no such folder" in one_error(ssmbench("run", file))


@pytest.mark.parametrize("verb", ["run", "suite"])
@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1\n", "line 2: not YAML"), ("- a\n", "mapping"), ("", "mapping"), (None, "no such f")],
)
def test_files_that_cannot_be_used(verb, content, message, ssmbench, write):
    if content is not None:
        write("bad.yaml", content)
    assert message in one_error(ssmbench(verb, "bad.yaml"))


BAD_MATRICES = {
    "NaN": ({"A": np.array([[math.nan]])}, "A holds 1 NaN"),
    "shape": ({"B": np.zeros((2, 1))}, "B has shape"),
    "not square": ({"A": np.zeros((1, 2))}, "A has shape"),
    "missing": ({"without": "C"}, "missing C"),
    "unknown key": ({"E": np.zeros((1, 1))}, "unknown key 'E'"),
    "text": ({"A": np.array([["a"]])}, "A has dtype"),
    "objects": ({"A": np.array([[None]], dtype=object)}, "never unpickled"),
    "negative step": ({"dt": -1.0}, "dt is -1.0"),
}


@pytest.mark.parametrize("what", BAD_MATRICES)
def test_gain_refuses_bad_matrices(what, ssmbench, matrices):
    changes, message = BAD_MATRICES[what]
    assert message in one_error(ssmbench("gain", matrices(**changes)))


BAD_CALLS = {
    "gain of nothing": (("gain", "missing.npz"), "missing.npz: no such file"),
    "gain of text": (("gain", "mine.yaml"), "not a NumPy .npz archive"),
    "gain of a folder": (("gain", "."), "not the folder of a complete run"),
    "horizon of 0": (
        ("gain", "system.npz", "--horizon", "0"),
        "horizon: must be a whole number of at least 1, got 0",
    ),
    "horizon below 0": (
        ("gain", "system.npz", "--horizon", "-2"),
        "horizon: must be a whole number of at le",
    ),
    "horizon of a run": (("gain", ".", "--horizon", "2"), "--horizon"),
    "attack on a file": (
        ("gain", "system.npz", "--attack"),
        "system.npz is a file, not a run's folder",
    ),
    "attack on nothing": (("gain", "nowhere", "--attack"), "nowhere: no such folder"),
    "attack on a folder": (("gain", ".", "--attack"), "not the folder of a run (it has no conf"),
    "budget without attack": (("gain", ".", "--seed", "1"), "--seed: only applies with --attack"),
    "attack of no step": (
        ("gain", ".", "--attack", "--attack-steps", "0"),
        "steps: must be positive, got 0",
    ),
    "attack from nowhere": (
        ("gain", ".", "--attack", "--attack-restarts", "-1"),
        "restarts: must be positive, got -1",
    ),
    "attack with a bad seed": (("gain", ".", "--attack", "--seed", "-1"), "seed: must be from 0"),
    "attack verb on a file": (("attack", "system.npz"), "is a file, not a run's folder"),
    "attack verb on nothing": (("attack", "nowhere"), "nowhere: no such folder"),
    "attack verb of no step": (("attack", ".", "--steps", "0"), "steps: must be positive, got 0"),
    "attack over a horizon": (("gain", ".", "--attack", "--horizon", "2"), "--horizon"),
    "report of nothing": (("report", "nowhere"), "nowhere: no suite was run there"),
    "report of a folder": (("report", "."), "no suite was run there"),
    "no job": (("suite", "suite.yaml", "--jobs", "0"), "jobs: must be at least 1, got 0"),
    "suite as a run": (("run", "suite.yaml"), "Key 'name' not in"),
    "run as a suite": (("suite", "mine.yaml"), "unknown key"),
    "unknown kind": (("list", "tassks"), "unknown kind 'tassks': did you mean 'task'"),
    "unknown name": (("show", "task", "digit"), "did you mean 'digits'"),
    "plugins nowhere": (("list", "--plugins", "nowhere"), "nowhere: no such file or folder"),
    "plugins before the verb": (("--plugins", "nowhere", "list"), "nowhere: no such file or f"),
    "plugins in a run": (("run", "mine.yaml", "--plugins", "x.py"), "x.py: no such file or folder"),
    "plugins as YAML": (("doctor", "--plugins", "mine.yaml"), "must be a Python file"),
    "output in a file": (("run", "mine.yaml", "-o", "mine.yaml/x"), "cannot be created"),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_calls_that_cannot_be_answered(what, ssmbench, write, tiny, tiny_suite, matrices):
    write("mine.yaml", tiny)
    write("suite.yaml", tiny_suite)
    matrices()
    call, message = BAD_CALLS[what]
    assert message in one_error(ssmbench(*call))


BAD_ARGUMENTS = {
    "rnu": "unknown verb 'rnu': did you mean 'run'?",
    "nonsense": "unknown verb 'nonsense': known: attack, bench",
    "plot stabilty": "plot: unknown verb 'stabilty': did you mean 'stability'?",
    "--plugin x list": "unknown option '--plugin': did you mean '--plugins'?",
    "list --jsn": "list: unknown option '--jsn': did you mean '--json'?",
    "list -x": "list: unknown option '-x': known: --help, --json, --plugins",
    "run": "run: missing argument 'config'; see ssmbench run --help",
    "plot stability": "plot stability: missing argument 'names'; see ",
    "list a b c": "list: got unexpected extra argument(s) (c); see ssmbench list --help",
    "run mine --dry-run=3": "option '--dry-run' does not take a value",
    "attack x --steps": "option '--steps' requires an argument",
    "gain x --horizon many": "gain: invalid value for '--horizon': ",
}


@pytest.mark.parametrize("call", BAD_ARGUMENTS)
def test_bad_arguments_are_refused_with_the_nearest_known_name(call, ssmbench):
    assert one_error(ssmbench(*call.split())).startswith(BAD_ARGUMENTS[call])


def test_without_a_verb_the_help_is_shown(ssmbench):
    for call in ((), ("plot",)):
        answer = ssmbench(*call)
        assert answer.code == 2
        assert "Usage: " in answer.out + answer.err


BAD_SUITES = {
    "unknown key": ({"variantz": {}}, "did you mean 'variants'"),
    "unknown setting": ({"base": {"modle": {}}}, "modle"),
    "L2RU with a discretizer": (
        {"variants": {"L2RU": {"model": {"parametrization": "l2ru"}, "discretizers": ["zoh"]}}},
        "takes no discretizer",
    ),
    "S4D without one": (
        {"variants": {"S4D": {"model": {"parametrization": "s4d"}}}},
        "needs a discretizer",
    ),
    "trainer argument": ({"base": {"trainer": {"max_epoch": 1}}}, "no such Trainer argument"),
    "trainer value": ({"base": {"trainer": {"precision": "nonsense"}}}, "nonsense"),
    "batch beyond the data": ({"base": {"batch_size": 100000}}, "more than the 1197"),
    "data": ({"tasks": {"t": {"task": {"name": "digits", "val_images": 0}}}}, "val_images"),
}


@pytest.mark.parametrize("what", BAD_SUITES)
def test_a_bad_suite_is_refused_before_anything_runs(what, ssmbench, write, tiny_suite, workplace):
    change, message = BAD_SUITES[what]
    file = write("suite.yaml", tiny_suite | change)
    assert message in one_error(ssmbench("suite", file, "-o", "out"))
    left = {path.name for path in workplace.rglob("*") if path.is_file()}
    assert left <= {"suite.yaml", "config.yaml"}


def test_one_bad_variant_keeps_the_good_ones_from_running(ssmbench, write, tiny_suite, workplace):
    tiny_suite["variants"]["Bad"] = {"model": {"parametrization": "s4d"}}
    one_error(ssmbench("suite", write("suite.yaml", tiny_suite), "-o", "out"))
    assert not (workplace / "out").exists()


def test_a_refusal_in_a_process_of_its_own_is_one_line_too(workplace):
    command = [sys.executable, "-m", "ssmbench", "run", "missing.yaml"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: missing.yaml: no such file, and no bundled config of")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_suite_is_run_without_a_verb_of_its_own(place, ssmbench, write, tiny_suite, workplace):
    file, plan = write("small.yaml", tiny_suite), ("--dry-run", "--json")
    words = (*plan, file) if place == "before" else (file, *plan)
    implied, named = ssmbench("suite", *words), ssmbench("suite", "run", *words)
    assert json.loads(implied.out)["name"] == json.loads(named.out)["name"] == "small"


def test_help_of_suites_shows_the_verbs_and_the_options_of_running(ssmbench):
    answer = ssmbench("suite", "--help").out
    assert all(word in answer for word in ("FILE|COMMAND", " run ", "--dry-run", "--launcher"))
    assert "suite: unknown option" in one_error(ssmbench("suite", "quickstart", "--joobs", "1"))


# --- measures -----------------------------------------------------------------------------------


def test_gain_prints_the_measures_that_are_asked_for(ssmbench, matrices):
    file = matrices()
    asked = ("--measure", "band_gain(low=1, high=2)", "--measure", "delay_margin")
    answer = ssmbench("gain", file, *asked)
    assert "band_gain(low=1.0, high=2.0)" in answer.out
    assert "samples" in answer.out
    found = the_json(ssmbench("gain", file, *asked, "--json").out)["measures"]
    assert set(found) == {"band_gain(low=1.0, high=2.0)", "delay_margin"}
    assert found["delay_margin"]["unproved"] is False


def test_gain_refuses_a_measure_that_it_does_not_know_or_cannot_apply(ssmbench, matrices):
    file = matrices()
    assert "band_gain" in one_error(ssmbench("gain", file, "--measure", "band_gin"))
    said = one_error(ssmbench("gain", file, "--measure", "band_gain(high=9)"))
    assert said == "measure band_gain: high: at most pi radians per sample, got 9.0"
