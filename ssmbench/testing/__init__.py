"""Conformance checks: measure whether a registered component fulfils the contract of its kind.

Authors of plugins call ``conform(entry)`` in a test, or run ``ssmbench check KIND NAME``;
ssmbench's own tests check the whole registry. The checks of a kind are small functions of a
:class:`Subject`, in the module of this package with the kind's name, listed in ``CHECKS``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ssmbench.errors import require
from ssmbench.registry import KINDS, Entry
from ssmbench.testing import time_varying
from ssmbench.testing.discretizers import (
    gain_distortion,
    measured_a_stability,
    measured_interval,
    measured_order,
)
from ssmbench.testing.modules import randomise
from ssmbench.testing.optimizers import QuadraticTrial
from ssmbench.testing.oscillators import as_oscillator, check_free_motion, check_oscillators_agree
from ssmbench.testing.parametrizations import (
    check_declared_gain,
    check_declared_measures,
    check_stability,
)
from ssmbench.testing.report import (
    Check,
    CheckFunction,
    ConformanceReport,
    NotApplicable,
    Subject,
    run_checks,
    skip_unless,
)
from ssmbench.testing.scans import check_linear_scan, check_scan, example_systems
from ssmbench.testing.time_varying import (
    example_delta_systems,
    example_time_varying_systems,
    gradient_of_views,
)

__all__ = [
    "Check",
    "CheckFunction",
    "ConformanceReport",
    "NotApplicable",
    "QuadraticTrial",
    "Subject",
    "as_oscillator",
    "check_declared_gain",
    "check_declared_measures",
    "check_free_motion",
    "check_linear_scan",
    "check_oscillators_agree",
    "check_scan",
    "check_stability",
    "checks_of",
    "conform",
    "examine_conformance",
    "example_delta_systems",
    "example_systems",
    "example_time_varying_systems",
    "gain_distortion",
    "gradient_of_views",
    "measured_a_stability",
    "measured_interval",
    "measured_order",
    "randomise",
    "run_checks",
    "skip_unless",
]


def checks_of(entry: Entry) -> tuple[CheckFunction, ...]:
    """The checks of an entry's kind, in the order in which they run.

    They are in the module of this package that has the plural name of the kind.

    Raises:
        UsageError: there is no such module.
    """
    if entry.kind == "parametrization" and getattr(entry.factory, "is_time_varying", bool)():
        return time_varying.CHECKS
    name = f"{__name__}.{KINDS[entry.kind].plural}"
    known = importlib.util.find_spec(name) is not None
    require(known, f"{entry.kind} {entry.name}: there are no conformance checks for this kind")
    return importlib.import_module(name).CHECKS


def examine_conformance(entry: Entry, seed: int = 0, config: Any = None) -> ConformanceReport:
    """Run every check of an entry's kind and report each as passed, failed or skipped.

    Args:
        entry: the registered entry.
        seed: seed of torch's generator at the start of each check.
        config: an instance of the entry's config class, instead of its defaults; needed, for
            example, by a task that reads its data from a folder.
    """
    return run_checks(Subject(entry, config), checks_of(entry), seed)


def conform(entry: Entry, seed: int = 0, config: Any = None) -> ConformanceReport:
    """As :func:`examine_conformance`, for use in tests: a failed check raises an error.

    Raises:
        AssertionError: a check failed; the message lists every check by name.
    """
    report = examine_conformance(entry, seed, config)
    report.raise_for_failures()
    return report
