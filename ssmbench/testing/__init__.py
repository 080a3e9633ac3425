"""The conformance kit: what every registered component must do, checked by measurement.

A plugin author runs ``conform(entry)`` in a test, or ``ssmbench conform KIND NAME``; ssmbench's own
tests run it over the whole registry. Each kind has its checks in the module of this package that
has its name: small functions of a :class:`Subject`, named for what they check, listed in
``CHECKS``.
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
from ssmbench.testing.parametrizations import check_declared_gain, check_stability
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
from ssmbench.testing.time_varying import example_time_varying_systems, gradient_of_views

__all__ = [
    "Check",
    "CheckFunction",
    "ConformanceReport",
    "NotApplicable",
    "QuadraticTrial",
    "Subject",
    "as_oscillator",
    "check_declared_gain",
    "check_free_motion",
    "check_linear_scan",
    "check_oscillators_agree",
    "check_scan",
    "check_stability",
    "checks_of",
    "conform",
    "examine_conformance",
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
    """The checks of an entry's kind, in the order in which they run: those of the module of this
    package that has the name of the kind, in the plural.

    Raises:
        UsageError: there are none for the kind.
    """
    if entry.kind == "parametrization" and getattr(entry.factory, "is_time_varying", bool)():
        return time_varying.CHECKS
    name = f"{__name__}.{KINDS[entry.kind].plural}"
    known = importlib.util.find_spec(name) is not None
    require(known, f"{entry.kind} {entry.name}: there are no checks of conformance for its kind")
    return importlib.import_module(name).CHECKS


def examine_conformance(entry: Entry, seed: int = 0, config: Any = None) -> ConformanceReport:
    """Every check of an entry's kind, each passed, failed or skipped with its reason.

    ``config``, an instance of the entry's config class, takes the place of the defaults: a task
    that comes without data needs one that names a folder of them.
    """
    return run_checks(Subject(entry, config), checks_of(entry), seed)


def conform(entry: Entry, seed: int = 0, config: Any = None) -> ConformanceReport:
    """As :func:`examine_conformance`, for tests: a failed check is an error.

    Raises:
        AssertionError: a check failed; the message lists every check by name.
    """
    report = examine_conformance(entry, seed, config)
    report.raise_for_failures()
    return report
