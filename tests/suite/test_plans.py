"""``--dry-run``: what a call of a suite will do; and that it then does just that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbench as sb
from ssmbench.errors import UsageError
from ssmbench.library.plans import plan_runs
from ssmbench.runs.states import STATES
from ssmbench.suite import session
from ssmbench.suite.grid import load_suite
from ssmbench.suite.plan import REDO, is_due
from ssmbench.suite.record import RUNS, read_suite
from ssmbench.tasks.cache import CACHE_VARIABLE
from tests.test_sources import EDITED, PLUGIN

COMPLETE_RUN = Path(__file__).parents[1] / "runs" / "schema_2_run"


@pytest.fixture
def file(write, tiny_suite):
    """Six runs: two variants, three seeds."""
    return write("suite.yaml", tiny_suite | {"seeds": 3})


@pytest.fixture
def folders(file, workplace):
    """The folders of the runs by label: a finished one, a failed, an interrupted one of L2RU."""
    runs = load_suite(file).runs(workplace / "outputs" / "small")
    found = {run.label.removeprefix("digits/"): run.folder for run in runs}
    states = {"L2RU-s0": "finished", "L2RU-s1": "failed", "L2RU-s2": "interrupted"}
    for label, state in states.items():
        found[label].path.mkdir(parents=True)
        for name in ("result.json", "poles.npz") if state == "finished" else ():
            shutil.copy(COMPLETE_RUN / name, found[label].path / name)
        found[label].write_status(state, reason="planted")
    return found


def due(plan):
    return {run.progress.label.removeprefix("digits/") for run in plan.due}


def test_a_plan_has_states_and_times_by_variant(folders, file, ssmbench):
    said = json.loads(ssmbench("suite", file, "--dry-run", "--json", "--jobs", "2").out)
    assert said["counts"] == {"missing": 3, "finished": 1, "failed": 1, "interrupted": 1}
    assert (said["due"], said["parallel"]) == (5, 2)
    each = json.loads((COMPLETE_RUN / "result.json").read_text())["seconds"]
    seconds = {run["label"].removeprefix("digits/"): run["seconds"] for run in said["runs"]}
    unknown = dict.fromkeys(("S4D-zoh-s0", "S4D-zoh-s1", "S4D-zoh-s2"))
    assert seconds == unknown | {"L2RU-s0": 0.0, "L2RU-s1": each, "L2RU-s2": each}
    assert said["seconds"] is None
    answer = ssmbench("suite", file, "--dry-run", "--include", "*/L2RU").out
    assert "3 runs, 1 complete (1 finished, 1 failed, 1 interrupted); 2 to run" in answer
    assert "about 5 s of runs, " in answer
    assert "time unknown" in ssmbench("suite", file, "--dry-run").out


def test_nothing_is_written_by_a_plan(file, workplace):
    plan_runs(file)
    assert {path.name for path in workplace.iterdir()} == {"suite.yaml"}


DUE = {
    "missing": {"S4D-zoh-s0", "S4D-zoh-s1", "S4D-zoh-s2", "L2RU-s1", "L2RU-s2"},
    "failed": {"L2RU-s1"},
    "interrupted": {"L2RU-s2"},
    "all": {"S4D-zoh-s0", "S4D-zoh-s1", "S4D-zoh-s2", "L2RU-s0", "L2RU-s1", "L2RU-s2"},
}


@pytest.fixture
def launched(monkeypatch):
    """The labels of the runs that are launched, with their states then; none is executed."""
    found = {}

    def build_launcher(*_):
        class Noting:
            outlives_suite = False

            def launch(self, runs, jobs=None):
                for run in runs:
                    found[run.label.removeprefix("digits/")] = run.folder.state
                    run.folder.write_status("failed", reason="not executed")
                    yield run, "failed"

            def interrupt(self, signum):
                raise AssertionError

        return Noting()

    monkeypatch.setattr(session, "build_launcher", build_launcher)
    return found


@pytest.mark.parametrize("redo", REDO)
def test_what_is_planned_is_what_is_executed(redo, folders, file, launched):
    """Failed runs, and all, start from the beginning: what they have written is deleted."""
    planned = due(plan_runs(file, redo=redo))
    sb.run_suite(file, redo=redo)
    assert set(launched) == planned == DUE[redo]
    whole = redo in ("failed", "all")
    before = {label: folders[label].status["state"] for label in launched}
    assert set(before.values()) == {"failed"}
    assert launched.get("L2RU-s1", "missing") == (
        "missing" if whole or redo != "missing" else "failed"
    )
    assert launched.get("L2RU-s2", "interrupted") == ("missing" if redo == "all" else "interrupted")


def test_every_state_is_due_or_not():
    assert {state for state in STATES if not is_due(state, "missing")} == {"finished", "diverged"}
    assert [state for state in STATES if is_due(state, "failed")] == ["failed"]
    assert {s for s in STATES if is_due(s, "interrupted")} == {"interrupted", "out_of_time"}
    assert all(is_due(state, "all") for state in STATES)


def test_runs_that_are_left_out_now_stay_in_the_report(file, launched, ssmbench):
    answer = ssmbench(
        "suite", file, "--include", "{variant: S4D, seed: [0, 2]}", "--exclude", "*s2"
    )
    assert (answer.code, set(launched)) == (1, {"S4D-zoh-s0"})
    assert len(read_suite(Path("outputs/small"))["cells"]) == 6
    assert "missing" in answer.out


def test_nothing_to_do_is_no_failure(folders, file, ssmbench):
    answer = ssmbench("suite", file, "--include", "*/L2RU-s0")
    assert (answer.code, "nothing to run: every run is complete" in answer.err) == (0, True)
    answer = ssmbench("suite", file, "--include", "*/L2RU-s0", "--redo", "failed")
    assert (answer.code, "nothing to run: no run is failed" in answer.err) == (0, True)


BAD = {
    "redo": (("--redo", "faild"), "redo: 'faild' is not a choice; did you mean 'failed'"),
    "both": (("--redo", "failed", "--force"), "--force means --redo all, but --redo failed"),
    "include": (("--include", "*/L2U"), "--include: no run is called '*/L2U'; did you mean"),
    "all": (("--exclude", "*"), "--exclude: no run is left"),
    "not YAML": (("--include", "{"), "--include '{': not YAML"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_choices_are_refused(what, file, ssmbench, workplace):
    options, message = BAD[what]
    for more in ((), ("--dry-run",)):
        answer = ssmbench("suite", file, *options, *more)
        assert (answer.code, message in answer.err) == (2, True)
    assert not (workplace / "outputs" / "small" / RUNS).exists()


def test_a_probe_gives_a_time_to_what_has_none(write, tiny_suite, ssmbench, workplace):
    """Nothing is executed in the suite's folder; a kind that fails stays unknown, with a line."""
    write("plugins/planted.py", PLUGIN.replace("return 0.5 * x", "raise ValueError('planted')"))
    del tiny_suite["variants"]["L2RU"]
    broken = {"model": {"parametrization": "s4d", "discretizer": "zoh", "nonlinearity": "planted"}}
    tiny_suite["variants"]["Broken"] = broken
    file = write("suite.yaml", tiny_suite | {"seeds": 2})
    answer = ssmbench("suite", file, "--probe", "--json")
    seconds = [run["seconds"] for run in json.loads(answer.out)["runs"]]
    assert seconds[0] == seconds[1] > 0
    assert seconds[2:] == [None, None]
    assert "digits/Broken: not probed: failed" in answer.err
    assert [path.name for path in (workplace / "outputs" / "small").iterdir()] == ["probe.json"]
    assert [run.seconds for run in plan_runs(file).runs] == seconds


# --- plans that were made before ------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch, workplace):
    """How often suites were resolved for a plan; with a cache of its own."""
    from ssmbench.library import suites

    calls, resolve = [], suites.plan_suite
    monkeypatch.setenv(CACHE_VARIABLE, str(workplace / "cache"))
    monkeypatch.setattr(suites, "plan_suite", lambda *a, **k: calls.append(a) or resolve(*a, **k))
    return calls


def test_a_plan_is_resolved_once_and_its_states_are_new(made, folders, file):
    first = plan_runs(file)
    folders["L2RU-s0"].write_status("failed", reason="planted")
    second = plan_runs(file)
    assert len(made) == 1
    assert [run.config for run in first.runs] == [run.config for run in second.runs]
    assert (first.counts["failed"], second.counts["failed"]) == (1, 2)


def test_whatever_a_plan_depends_on_makes_it_anew(made, write, tiny_suite, monkeypatch, workplace):
    """The file, what it builds on, overrides, plugins, data, and the environment."""
    plugin = write("plugins/planted.py", PLUGIN)
    records = write("data/records.csv", "u,y\n" + "0.5,0.25\n" * 400)
    task = {"name": "records", "files": ["records.csv"], "data_dir": str(workplace / "data")}
    tiny_suite["base"]["model"]["nonlinearity"] = "planted"
    task |= {"inputs": ["u"], "outputs": ["y"], "test_samples": 100, "window": 50}
    tiny_suite["tasks"] = {"r": {"task": task}}
    base = write("base.yaml", tiny_suite)
    file = write("suite.yaml", {"defaults": ["base.yaml"]})
    changes = [
        lambda: file.write_text(file.read_text() + "seeds: 2\n"),
        lambda: base.write_text(base.read_text().replace("d_state: 4", "d_state: 6")),
        lambda: plugin.write_text(EDITED),
        lambda: records.write_text(records.read_text() + "0.5,0.75\n"),
        lambda: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ""),
    ]
    plan_runs(file)
    for count, change in enumerate(changes, 2):
        change()
        for _ in range(2):
            plan_runs(file)
            assert len(made) == count
    plan_runs(file, ["batch_size=2"])
    assert len(made) == len(changes) + 2


def test_a_suite_with_an_entry_of_no_file_is_not_kept(made, write, tiny_suite):
    exec(PLUGIN, {"__name__": "__main__"})
    tiny_suite["base"]["model"]["nonlinearity"] = "planted"
    file = write("suite.yaml", tiny_suite)
    for count in (1, 2):
        plan_runs(file)
        assert len(made) == count


def test_a_bad_suite_is_not_kept(made, write, tiny_suite):
    tiny_suite["variants"]["Bad"] = {"model": {"parametrization": "s4d"}}
    file = write("suite.yaml", tiny_suite)
    for _ in range(2):
        with pytest.raises(UsageError, match="digits/Bad"):
            plan_runs(file)
    assert len(made) == 2


def test_a_plan_made_before_loads_no_torch(file, made):
    plan_runs(file)
    code = f"""
import sys
from ssmbench import cli
sys.argv = ["ssmbench", "suite", {str(file)!r}, "--dry-run", "--json"]
try:
    cli.main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
print([name for name in ("torch", "lightning", "scipy") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert json.loads(done.stdout)["due"] == 6
