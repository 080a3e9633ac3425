"""Every check can fail: for each there is a plugin with one fault that it finds, and no other check
finds that fault unless it must.
"""

from __future__ import annotations

import re

import pytest

from ssmbench import registry
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.testing import Subject, checks_of, run_checks
from ssmbench.testing.time_varying import every_scan_agrees_with_single_steps
from tests.conformance import (
    wrong_exporters,
    wrong_measures,
    wrong_networks,
    wrong_parametrizations,
    wrong_reducers,
    wrong_systems,
    wrong_tasks,
    wrong_training,
)
from tests.conformance.wrong import Wrong
from tests.conformance.wrong_parametrizations import Decays, Gated
from tests.conformance.wrong_systems import WrongWhereItVaries
from tests.conformance.wrong_tasks import Echo, Ragged, SmallConfig

WRONG: tuple[Wrong, ...] = (
    *wrong_parametrizations.WRONG,
    *wrong_systems.WRONG,
    *wrong_networks.WRONG,
    *wrong_training.WRONG,
    *wrong_measures.WRONG,
    *wrong_reducers.WRONG,
    *wrong_exporters.WRONG,
    *wrong_tasks.WRONG,
)
#: All checks of these take seconds; those of the fault are tried alone.
SLOW_KINDS = ("callback", "launcher", "normaliser", "scan")
RIGHT = (
    Wrong("parametrization", "", Decays, ""),
    Wrong("parametrization", "", Gated, ""),
    Wrong("task", "", Echo, "", config=SmallConfig),
    Wrong("task", "", Ragged, "", config=SmallConfig),
)


def findings(wrong: Wrong, *names: str) -> dict[str, str]:
    """The reasons of the checks that fail, of these or of all, each as if it were the first."""
    subject = Subject(wrong.entry)
    chosen = [c for c in checks_of(wrong.entry) if not names or c.__name__ in names]
    done = [run_checks(subject, [check]).checks[0] for check in chosen]
    failed = zip(chosen, done, strict=True)
    return {c.__name__: d.reason for c, d in failed if not (d.passed or d.skipped)}


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_fault_is_found_by_its_check_and_by_no_other(wrong):
    alone = wrong.kind in SLOW_KINDS or wrong.check == "builds"
    found = findings(wrong, *((wrong.check,) if alone else ()))
    assert set(found) == {wrong.check, *(() if alone else wrong.also)}
    assert re.search(wrong.says, found[wrong.check])


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: right.factory.__name__)
def test_without_the_fault_every_check_passes(right):
    assert findings(right) == {}


def test_a_scan_that_is_wrong_for_time_varying_systems_is_found_by_a_parametrization(workplace):
    """The only check of a parametrization that is one of all registered scans."""
    registry.scans.register("planted", summary="planted")(WrongWhereItVaries)
    subject = Subject(Wrong("parametrization", "", Gated, "").entry)
    (check,) = run_checks(subject, [every_scan_agrees_with_single_steps]).checks
    assert "the scan planted has a relative error of" in check.reason
    assert issubclass(WrongWhereItVaries, ChunkedScan)


def test_every_check_of_every_kind_has_a_fault_that_it_finds():
    tried = {(wrong.kind, check) for wrong in WRONG for check in (checks_of(wrong.entry))}
    of_kinds = {kind: checks_of(next(iter(registry.KINDS[kind]))) for kind in registry.KINDS}
    every = tried | {(kind, check) for kind, checks in of_kinds.items() for check in checks}
    found = {(w.kind, c) for w in WRONG for c in checks_of(w.entry) if c.__name__ == w.check}
    by_a_scan = ("parametrization", every_scan_agrees_with_single_steps)
    assert every - found == {by_a_scan}
