"""The conformance kit: what every registered thing must keep, checked by measurement.

A plugin author runs ``conform(entry)`` in a test; ssmbench's own tests run it over the whole
registry. A check raises :class:`AssertionError` with what was promised and what was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from ssmbench.registry import Entry
from ssmbench.testing.discretizers import (
    conform_discretizer,
    gain_distortion,
    measured_a_stability,
    measured_interval,
    measured_order,
)
from ssmbench.testing.nonlinearities import conform_nonlinearity
from ssmbench.testing.normalisers import conform_normaliser
from ssmbench.testing.optimizers import QuadraticTrial, conform_optimizer
from ssmbench.testing.oscillators import as_oscillator, check_free_motion, check_oscillators_agree
from ssmbench.testing.parametrizations import check_promises, conform_parametrization, randomise
from ssmbench.testing.scans import check_linear_scan, check_scan, conform_scan, example_systems
from ssmbench.testing.tasks import conform_task
from ssmbench.testing.time_varying import (
    conform_time_varying,
    example_time_varying_systems,
    gradient_of_views,
)

__all__ = [
    "QuadraticTrial",
    "as_oscillator",
    "check_free_motion",
    "check_linear_scan",
    "check_oscillators_agree",
    "check_promises",
    "check_scan",
    "conform",
    "conform_discretizer",
    "conform_nonlinearity",
    "conform_normaliser",
    "conform_optimizer",
    "conform_parametrization",
    "conform_scan",
    "conform_task",
    "conform_time_varying",
    "example_systems",
    "example_time_varying_systems",
    "gain_distortion",
    "gradient_of_views",
    "measured_a_stability",
    "measured_interval",
    "measured_order",
    "randomise",
]

_CHECKS: dict[str, Callable[[Entry], None]] = {
    "parametrization": conform_parametrization,
    "discretizer": conform_discretizer,
    "normaliser": conform_normaliser,
    "scan": conform_scan,
    "nonlinearity": conform_nonlinearity,
    "optimizer": conform_optimizer,
    "task": conform_task,
}


def conform(entry: Entry, seed: int = 0, config: Any = None) -> None:
    """Check an entry of any kind against its contract.

    ``config``, an instance of a task's config class, takes the place of the defaults: a task that
    comes without data needs one that names a folder of them.

    Raises:
        AssertionError: a promise is broken.
    """
    if config is not None:
        factory = entry.factory
        entry = dataclasses.replace(entry, factory=lambda _, **sizes: factory(config, **sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _CHECKS[entry.kind](entry)
