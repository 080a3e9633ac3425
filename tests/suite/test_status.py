"""``ssmbench suite status``, ``logs`` and ``cancel`` on a suite's folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssmbench.library.progress import suite_folder, suite_status
from ssmbench.runs.folder import RunFolder
from ssmbench.suite.record import RUNS, SUITE_FILE

COMPLETE_RUN = Path(__file__).parents[1] / "runs" / "schema_2_run"

#: Executes a run until SIGTERM comes: says so, and ends as interrupted.
EXECUTES = """
import signal, sys, time
from pathlib import Path
from ssmbench.runs.folder import RunFolder

def stop(*_):
    print("stopped", flush=True)
    raise SystemExit(0)

signal.signal(signal.SIGTERM, stop)
folder = RunFolder(Path(sys.argv[1]))
with folder.lock() as locked:
    assert locked
    folder.write_status("running")
    print("started", flush=True)
    if sys.argv[2] == "wait":
        signal.pause()
    sys.stdin.read()
    with (folder.path / "output.log").open("a") as log:
        log.write("last words\\n")
    folder.write_status("failed", reason="planted")
"""


def cell(label: str, fingerprint: str) -> dict[str, object]:
    task, _, rest = label.partition("/")
    variant, discretizer, seed = rest.split("-")
    own = {"task": task, "variant": variant, "discretizer": discretizer, "seed": int(seed[1:])}
    return {**own, "label": label, "fingerprint": fingerprint}


@pytest.fixture
def folder(workplace):
    """A suite with a finished, a failed, an interrupted and a missing run, and a suite file."""
    root = workplace / "outputs" / "small"
    labels = ["a/S4D-zoh-s0", "a/S4D-zoh-s1", "a/S4D-zoh-s2", "a/S5-zoh-s0", "b/S5-zoh-s0"]
    cells = [cell(label, f"run{place}") for place, label in enumerate(labels)]
    for place in range(5):
        (root / RUNS / f"run{place}").mkdir(parents=True)
    (root / SUITE_FILE).write_text(json.dumps({"name": "small", "cells": cells}))
    finished = run_folder(root, 0)
    for name in ("result.json", "poles.npz"):
        shutil.copy(COMPLETE_RUN / name, finished.path / name)
    finished.write_status("finished")
    run_folder(root, 1).write_status("failed", reason="ValueError: planted (plugins/x.py:3)")
    (run_folder(root, 1).path / "output.log").write_text("about to fail\n")
    (run_folder(root, 1).path / "error.txt").write_text("Traceback: planted\n")
    stopped = run_folder(root, 2)
    stopped.write_status("interrupted", reason="SIGTERM")
    (stopped.path / "config.yaml").write_text("trainer: {max_epochs: 8}\n")
    rows = ['{"step": 5, "val/loss": 1.0, "val/accuracy": 0.5, "epoch": 1.0}', '{"step": 7, "trai']
    (stopped.path / "metrics.jsonl").write_text("\n".join(rows))
    return root


def run_folder(root, place):
    return RunFolder(root / RUNS / f"run{place}")


@pytest.fixture
def process():
    """Start a process that executes a run; ended at the end of the test."""
    started = []

    def start(folder, how):
        command = [sys.executable, "-c", EXECUTES, str(folder.path), how]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen(command, text=True, **pipes)
        started.append(child)
        assert child.stdout.readline() == "started\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_status_has_states_progress_scores_and_reasons(folder, ssmbench):
    said = json.loads(ssmbench("suite", "status", folder, "--json").out)
    assert said["counts"] == {"finished": 1, "failed": 1, "interrupted": 1, "missing": 2}
    runs = {run["label"]: run for run in said["runs"]}
    result = json.loads((COMPLETE_RUN / "result.json").read_text())
    finished, stopped = runs["a/S4D-zoh-s0"], runs["a/S4D-zoh-s2"]
    assert finished["score"] == result["scores"]["test"]
    assert (finished["done"], finished["elapsed"]) == (1.0, result["seconds"])
    assert (stopped["step"], stopped["epoch"], stopped["score"]) == (5, 2.0, 0.5)
    assert stopped["done"] == 2 / 8
    assert stopped["left"] == pytest.approx(result["seconds"] * 6 / 8)  # as long as its like
    assert runs["b/S5-zoh-s0"]["left"] is None
    shown = ssmbench("suite", "status", "small").out
    assert "failed: a/S4D-zoh-s1: ValueError: planted (plugins/x.py:3)" in shown
    assert "interrupted: a/S4D-zoh-s2: SIGTERM" in shown
    assert "5 runs: 2 missing, 1 interrupted, 1 failed, 1 finished" in shown


def test_a_suite_is_found_by_folder_file_and_name(folder, write, workplace):
    """Without resolving a file, which here could not be."""
    file = write("suites/x.yaml", {"defaults": ["y.yaml"], "name": "small"})
    write("suites/y.yaml", {"name": "other", "variants": {"of a plugin": {}}})
    for given in (folder, "outputs/small", "small", file, "suites/x.yaml"):
        assert suite_folder(given) == folder
    assert suite_folder("quickstart") == workplace / "outputs" / "quickstart"


def test_status_and_logs_load_no_torch(folder):
    code = f"""
import sys
from ssmbench import cli
for arguments in (["status"], ["status", "--json"], ["logs", "a/S4D-zoh-s1"], ["cancel"]):
    sys.argv = ["ssmbench", "suite", arguments[0], {str(folder)!r}, *arguments[1:]]
    try:
        cli.main()
    except SystemExit as stopped:
        assert not stopped.code, stopped.code
loaded = [name for name in ("torch", "lightning", "scipy") if name in sys.modules]
print(loaded, file=sys.__stderr__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_watching_a_complete_suite_ends(folder, ssmbench):
    record = json.loads((folder / SUITE_FILE).read_text())
    record["cells"] = record["cells"][:1]
    (folder / SUITE_FILE).write_text(json.dumps(record))
    assert ssmbench("suite", "status", folder, "--watch").out == "1 runs: 1 finished\n"


def test_a_running_run_is_shown_and_cancelled(folder, ssmbench, process):
    run = run_folder(folder, 3)
    child = process(run, "wait")
    assert "running: a/S5-zoh-s0" in ssmbench("suite", "status", folder).out
    answer = ssmbench("suite", "cancel", folder, "a/S5")
    assert f"SIGTERM sent to process {child.pid}" in answer.out
    assert child.communicate()[0] == "stopped\n"
    assert suite_status(folder).counts["interrupted"] == 2
    assert "nothing to cancel" in ssmbench("suite", "cancel", folder).out
    assert "nothing to stop: it is finished" in ssmbench("suite", "cancel", folder, "*s0").out


def test_a_run_of_another_host_is_not_cancelled(folder, ssmbench):
    run = run_folder(folder, 4)
    with run.lock():
        run.write_status("running", host="elsewhere", pid=os.getpid())
        answer = ssmbench("suite", "cancel", folder)
    assert answer.code == 1
    assert "not stopped: process" in answer.out
    assert "elsewhere" in answer.out


def test_logs_have_the_output_and_then_the_traceback(folder, ssmbench):
    assert ssmbench("suite", "logs", folder, "a/S4D-zoh-s1").out == (
        "about to fail\nTraceback: planted\n"
    )
    answer = ssmbench("suite", "logs", folder, "a/S4D-zoh-s2")
    assert (answer.code, answer.err) == (
        1,
        "error: a/S4D-zoh-s2: has no output; it is interrupted (SIGTERM)\n",
    )


def test_logs_follow_a_run_to_its_end(folder, ssmbench, process):
    run = run_folder(folder, 3)
    (run.path / "output.log").write_text("first words\n")
    child = process(run, "write")
    child.stdin.close()
    child.stdin = None
    answer = ssmbench("suite", "logs", folder, "a/S5", "--follow")
    assert answer.out == "first words\nlast words\n"


BAD = {
    "no such run": (("logs", "a/S6"), "no run is called 'a/S6'; did you mean 'a/S5'"),
    "several": (("logs", "a/S4D"), "several runs are called 'a/S4D': a/S4D-zoh-s0, "),
    "a beginning": (("logs", "a/"), "several runs are called 'a/': a/S4D-zoh-s0, "),
    "to cancel": (("cancel", "b/S4"), "no run is called 'b/S4'"),
    "both": (("status", "--watch", "--json"), "--watch and --json exclude each other"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_calls_are_refused_in_one_line(what, folder, ssmbench):
    (verb, *rest), message = BAD[what]
    answer = ssmbench("suite", verb, "small", *rest)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("given", ["smal", "nothing.yaml"])
def test_no_such_suite(given, folder, ssmbench):
    answer = ssmbench("suite", "status", given)
    assert answer.code == 2
    assert "no such folder or suite file" in answer.err
