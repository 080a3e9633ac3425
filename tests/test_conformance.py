"""Every entry of the registry, including the plugins of this checkout, fulfils its contract;
tests/conformance has entries that do not."""

import dataclasses

import pytest
import torch

from ssmbench import registry
from ssmbench.parametrizations.l2ru import L2RU, L2RUConfig
from ssmbench.parametrizations.s4d import S4D, S4DConfig
from ssmbench.registry import Entry, NoOptions
from ssmbench.systems import ContinuousDense
from ssmbench.testing import Subject, checks_of, conform, examine_conformance, run_checks

ENTRIES = [entry for kind in registry.KINDS.values() for entry in kind]


#: Tasks are checked in tests/tasks/test_every_task.py, in their small form.
WITHOUT_DATA = [entry for entry in ENTRIES if entry.kind != "task"]


@pytest.mark.parametrize("entry", WITHOUT_DATA, ids=lambda e: f"{e.kind}-{e.name}")
def test_entry_fulfils_its_contract(entry):
    conform(entry)


def test_example_plugin_is_among_them():
    names = {entry.name for entry in ENTRIES}
    assert "leaky_integrators" in names, registry.plugin_failures()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}-{e.name}")
def test_entry_has_a_summary_and_an_origin(entry):
    assert entry.summary
    file, _, line = entry.origin.rpartition(":")
    assert file.endswith(".py")
    assert int(line) > 0
    about = registry.describe(entry)
    assert set(about["options"]) == {f.name for f in dataclasses.fields(entry.config)}


# --- every check by name ---------------------------------------------------------------------


def entry_of(kind, factory, config=NoOptions):
    return Entry(kind, "planted", factory, config, "", "planted", "here:1")


def outcomes(report):
    return {check.name: check.passed for check in report.checks if not check.skipped}


class TwoFaults(L2RU):
    """Returns a system of another type than declared, and exceeds its declared gain."""

    system_type = ContinuousDense

    def declared_gain(self):
        return super().declared_gain() / 2


def test_every_check_is_reported_whatever_fails():
    report = examine_conformance(entry_of("parametrization", TwoFaults, L2RUConfig))
    assert not report.ok
    found = outcomes(report)
    assert found["builds"]
    assert found["repeated calls agree"]
    assert not found["returns the declared system"]
    assert not found["gain as declared"]
    with pytest.raises(AssertionError) as raised:
        report.raise_for_failures()
    lines = str(raised.value).splitlines()
    assert f"3 of {len(report.checks)} checks failed" in lines[0]
    assert len(lines) == 1 + len(report.checks)
    assert lines[0].startswith("parametrization planted (here:1): ")
    assert "  passed  repeated calls agree" in lines


def test_a_failure_names_the_line_that_returned_it():
    report = examine_conformance(entry_of("parametrization", TwoFaults, L2RUConfig))
    (failed,) = (c for c in report.checks if c.name == "returns the declared system")
    assert "l2ru.py:" in failed.reason
    assert "returns a DiscreteDense" in failed.reason


def test_other_checks_are_skipped_if_the_entry_cannot_be_built():
    def broken(config, *, d_model):
        raise ValueError("no weights")

    report = examine_conformance(entry_of("parametrization", broken))
    first, *others = report.checks
    assert (first.passed, first.reason) == (False, "ValueError: no weights")
    assert all(check.skipped and "cannot be built" in check.reason for check in others)
    assert not report.ok


def test_a_check_that_does_not_apply_says_why():
    report = examine_conformance(entry_of("parametrization", S4D, S4DConfig))
    (gain,) = (check for check in report.checks if check.name == "gain as declared")
    assert (gain.skipped, gain.reason) == (True, "declares no gain")
    assert report.ok
    assert report.to_dict()["ok"]


def test_no_check_depends_on_another():
    """Each starts from the same seed, whatever ran before it."""
    entry = entry_of("parametrization", L2RU, L2RUConfig)
    drawn = []

    def draws(subject):
        drawn.append(torch.rand(()).item())

    run_checks(Subject(entry), [draws, draws])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_every_kind_has_named_checks_with_a_sentence(kind):
    for check in checks_of(next(iter(registry.KINDS[kind]))):
        assert check.__doc__
        assert not check.__name__.startswith("_")
