"""Searches with a launcher that computes scores instead of training: which trials there are, which
go on, and that none is lost or executed twice, however often a search is stopped."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ssmbench.errors import UsageError
from ssmbench.suite.grid import load_suite
from ssmbench.suite.search import session, study
from ssmbench.suite.search.best import write_best
from ssmbench.suite.search.plan import load_search
from ssmbench.suite.search.session import FOLDER, run_search
from ssmbench.suite.search.study import JOURNAL
from tests.runs.results import complete
from tests.suite.search.computed import STARTUP, Computed, Stopped

SPACE = {"optimizer.lr": {"log": [1e-4, 1.0]}, "model.dropout": {"uniform": [0, 0.5]}}
HALVING = {"budget": "trainer.max_epochs", "from": 1, "to": 9}


@pytest.fixture(autouse=True)
def _short_start(monkeypatch):
    monkeypatch.setattr(study, "STARTUP", STARTUP)


@pytest.fixture
def suite(tiny_suite):
    """A suite of one cell."""
    return tiny_suite | {"variants": {"S4D": tiny_suite["variants"]["S4D"]}}


@pytest.fixture
def planned(write, suite):
    """The search of a suite with these parts of its section ``search``."""

    def plan(over=None, **search):
        trials = {} if search.get("sampler") == "grid" else {"trials": 6}
        content = suite | (over or {}) | {"search": trials | {"space": SPACE} | search}
        return load_search(write("suite.yaml", content))

    return plan


@pytest.fixture
def searched(planned, workplace):
    """Search in a folder, with these parts of the section ``search``."""

    def search(folder="out", /, launcher=None, over=None, **options):
        plan = planned(over, **options)
        return run_search(
            plan, workplace / folder, launcher or Computed(workplace / f"{folder}.log")
        )

    return search


def settings_of(outcome, rung=0):
    return {trial.number: dict(trial.settings) for trial in outcome.rungs[rung]}


def test_the_best_trial_is_that_of_the_best_validation_score(searched, workplace):
    (outcome,) = searched()
    assert len(outcome.rungs[0]) == 6
    assert outcome.is_complete
    assert outcome.best.value == max(t.value for t in outcome.rungs[0])
    assert outcome.to_dict()["metric"] == "accuracy"
    assert Computed(workplace / "out.log").executed == [
        f"digits/S4D-zoh-trial{number}" for number in range(6)
    ]


def test_proposals_depend_on_earlier_values_once_there_are_enough(searched, workplace):
    found = [
        settings_of(searched(name, Computed(workplace / f"{name}.log", best=place))[0])
        for name, place in (("small", 1e-4), ("large", 0.1))
    ]
    different = [number for number in range(6) if found[0][number] != found[1][number]]
    assert min(different) == STARTUP


def test_a_search_that_was_stopped_again_and_again_goes_on_as_if_it_had_not_been(
    searched, workplace
):
    (whole,) = searched("whole", halving=HALVING)
    log = workplace / "parts.log"
    for stop_at in (0, 2, 4, 7):
        with pytest.raises(Stopped):
            searched("parts", launcher=Computed(log, stop_at), halving=HALVING)
    (parts,) = searched("parts", launcher=Computed(log), halving=HALVING)
    assert [settings_of(parts, rung) for rung in range(3)] == [
        settings_of(whole, rung) for rung in range(3)
    ]
    assert Computed(log).executed == Computed(workplace / "whole.log").executed


def test_a_process_that_died_anywhere_in_the_journal_leaves_a_search_that_goes_on(
    searched, workplace
):
    (whole,) = searched("whole", trials=6)
    journal = workplace / "whole" / FOLDER / JOURNAL
    content = journal.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for end in [0, ends[1], ends[-6], ends[-1] - 7]:
        journal.write_bytes(content[:end])
        (again,) = searched("whole", trials=6)
        assert settings_of(again) == settings_of(whole)
    assert len(Computed(workplace / "whole.log").executed) == 6


def test_a_damaged_journal_is_named_with_what_to_do(searched, workplace):
    searched(trials=3)
    journal = workplace / "out" / FOLDER / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{broken\n", *lines[2:]]))
    with pytest.raises(UsageError, match=r"journal.log: is damaged .*; delete it"):
        searched(trials=3)
    journal.unlink()
    searched(trials=3)
    assert len(Computed(workplace / "out.log").executed) == 3


def test_more_trials_continue_a_search(searched, workplace):
    (few,) = searched(trials=2)
    (more,) = searched(trials=6)
    (at_once,) = searched("at once", trials=6)
    assert settings_of(more) == settings_of(at_once)
    assert len(Computed(workplace / "out.log").executed) == 6
    (fewer,) = searched(trials=2)
    assert settings_of(fewer) == settings_of(few)


def test_other_settings_are_another_search_that_finds_the_runs_they_share(searched, workplace):
    (first,) = searched(sampler="grid", space={"optimizer.lr": [0.1, 0.01]})
    (second,) = searched(sampler="grid", space={"optimizer.lr": [0.01, 0.001]})
    assert [t.settings["optimizer.lr"] for t in first.rungs[0]] == [0.1, 0.01]
    assert [t.settings["optimizer.lr"] for t in second.rungs[0]] == [0.01, 0.001]
    assert len(Computed(workplace / "out.log").executed) == 3


def test_a_grid_has_every_combination_once(searched):
    space = {"optimizer.lr": [0.1, 0.01], "model.dropout": [0, 0.1, 0.2]}
    (outcome,) = searched(sampler="grid", space=space)
    found = [tuple(trial.settings.values()) for trial in outcome.rungs[0]]
    assert found == [(lr, dropout) for lr in (0.1, 0.01) for dropout in (0, 0.1, 0.2)]
    assert outcome.best.settings == {"optimizer.lr": 0.01, "model.dropout": 0}


def test_trials_that_diverge_or_fail_do_not_go_on_and_teach_what_they_can(searched, workplace):
    log = workplace / "out.log"
    launcher = Computed(log, fails=lambda config: config["model"]["dropout"] > 0.4)
    space = {"optimizer.lr": [1.0, 0.01, 0.1], "model.dropout": [0.5, 0, 0.1]}
    options = {"sampler": "grid", "space": space, "halving": HALVING}
    (outcome,) = searched(launcher=launcher, **options)
    first = {tuple(t.settings.values()): t.value for t in outcome.rungs[0]}
    assert {key for key, value in first.items() if value is None} == {
        (lr, 0.5) for lr in (1.0, 0.01, 0.1)
    }
    assert {key for key, value in first.items() if value == -math.inf} == {(1.0, 0), (1.0, 0.1)}
    assert [[tuple(t.settings.values()) for t in rung] for rung in outcome.rungs[1:]] == [
        [(0.01, 0), (0.01, 0.1), (0.1, 0)],
        [(0.01, 0)],
    ]
    assert (len(outcome.without_result), outcome.diverged, outcome.is_complete) == (3, 2, True)
    assert outcome.spent == 6 + 3 * 3 + 9
    (again,) = searched(**options)  # what failed is tried again; one of these is good enough
    assert len(Computed(log).executed) == 9 + 3 + 1 + 3 + 1
    assert again.without_result == ()


def test_two_processes_share_a_search(planned, workplace, root):
    plan = planned(trials=6, halving=HALVING)
    words = [sys.executable, "-m", "tests.suite.search.computed", plan.path, workplace / "out"]
    other = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=root)
    log = workplace / "out" / "executed.log"
    (outcome,) = run_search(plan, workplace / "out", Computed(log, meets=True))
    _, said = other.communicate()
    assert other.returncode == 0, said
    (alone,) = run_search(plan, workplace / "alone", Computed(workplace / "alone.log"))
    assert outcome.is_complete
    assert settings_of(outcome) == settings_of(alone)
    assert sorted(Computed(log).executed) == sorted(Computed(workplace / "alone.log").executed)


class HeldByAnother(Computed):
    """The first run is under way in another process."""

    held = None

    def launch(self, runs, jobs=None):
        if self.held is None:
            self.run, self.held = runs[0], runs[0].folder.lock()
            assert self.held.__enter__()
            self.run.folder.write_status("running")
        return super().launch(runs, jobs)

    def end(self, seconds):
        assert seconds == session._POLL_SECONDS
        if self.finishes:
            complete(self.run.folder)
        self.held.__exit__(None, None, None)


@pytest.mark.parametrize("finishes", [True, False])
def test_a_run_of_another_process_is_waited_for(searched, workplace, monkeypatch, capsys, finishes):
    launcher = HeldByAnother(workplace / "out.log")
    launcher.finishes = finishes
    clock = SimpleNamespace(sleep=launcher.end, monotonic=time.monotonic)
    monkeypatch.setattr(session, "time", clock)
    (outcome,) = searched(launcher=launcher, trials=3)
    assert outcome.is_complete
    assert "waiting for 1 run of another process" in capsys.readouterr().err
    assert len(launcher.executed) == (2 if finishes else 3)


def test_as_many_trials_are_proposed_at_a_time_as_run_side_by_side(searched, workplace):
    rounds = []

    class Recorded(Computed):
        def launch(self, runs, jobs=None):
            rounds.append([run.label.rpartition("-trial")[2] for run in runs])
            return super().launch(runs, jobs)

    searched(launcher=Recorded(workplace / "out.log", width=2), trials=6)
    searched(launcher=Recorded(workplace / "out.log", width=1), trials=8)  # as it was begun
    searched("one", launcher=Recorded(workplace / "one.log", width=2), trials=5, parallel=1)
    start = ["0", "1", "2"]
    assert rounds == [start, ["3", "4"], ["5"], ["6"], ["7"], start, ["3"], ["4"]]


TWO_OF_EACH = {
    "tasks": {"a": {"task": "digits"}, "b": {"task": "digits", "batch_size": 16}},
    "seeds": [3, 4],
}


def test_the_best_settings_are_a_suite_whose_first_seed_is_that_of_the_search(
    planned, workplace, tiny_suite, write
):
    write("lab.yaml", {"name": "inline"})
    variants = dict(tiny_suite["variants"])
    variants["S4D"] = variants["S4D"] | {"discretizers": ["zoh", {"name": "gbt", "alpha": 0.7}]}
    plan = planned(
        TWO_OF_EACH | {"variants": variants, "launcher": "lab.yaml"},
        sampler="grid",
        space={"optimizer.lr": [0.1, 0.01]},
        spaces={"L2RU": {"model.dropout": [0.1, 0.0]}},
        halving=HALVING,
    )
    fails = Computed(workplace / "log", fails=lambda config: config["batch_size"] == 16)
    outcomes = run_search(plan, workplace / "out", fails)
    best = write_best(workplace / "out" / FOLDER, plan, outcomes)
    suite = load_suite(best)
    assert (suite.name, suite.launcher["name"]) == ("small-best", "inline")
    found = {cell.label: cell.config for cell in suite.cells}
    assert [label for label in found if label.endswith("-s3")] == [
        "a/S4D-zoh-s3",
        "a/S4D-gbt(alpha=0.7)-s3",
        "a/L2RU-s3",
    ]
    for outcome in outcomes[:3]:
        assert found[f"{outcome.cell.label}-s3"] == outcome.best.run.config
        assert outcome.best.run.config["trainer"]["max_epochs"] == 9
    assert [outcome.found_nothing for outcome in outcomes] == 3 * [False] + 3 * [True]
