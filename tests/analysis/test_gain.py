"""The gain report."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmbench.analysis.gain import analyse
from ssmbench.errors import UsageError
from tests.analysis.systems_for_tests import dense, diagonal, resonator

# --- report ------------------------------------------------------------------------------------


def test_discrete_report():
    report = analyse(dense([[0.9]], [[1.0]], [[1.0]], [[0.0]], discrete=True), horizon=64)
    assert report.to_dict() == {
        "time": "discrete",
        "stable": True,
        "hinf": pytest.approx(10),
        "hinf_lower_bound": pytest.approx(10),
        "hinf_upper_bound": pytest.approx(10, rel=0.01),
        "h2": pytest.approx(1 / math.sqrt(1 - 0.81)),
        "peak_frequency": pytest.approx(0),
        "margin": pytest.approx(0.1),
        "spectral_radius": pytest.approx(0.9),
        "horizon": 64,
        "horizon_gain": pytest.approx(9.2493, rel=1e-4),
        "unproved": ["horizon_gain"],
    }
    assert report.horizon_gain < report.hinf <= report.hinf_upper_bound


def test_continuous_report():
    report = analyse(resonator(2.0, 0.05))
    assert report.to_dict() == {
        "time": "continuous",
        "stable": True,
        "hinf": pytest.approx(10.0125, rel=1e-4),
        "hinf_lower_bound": pytest.approx(10.0125, rel=1e-4),
        "hinf_upper_bound": pytest.approx(10.0125, rel=0.01),
        "h2": pytest.approx(math.sqrt(2.0 / 0.2)),
        "peak_frequency": pytest.approx(2 * math.sqrt(1 - 2 * 0.05**2)),
        "margin": pytest.approx(0.1),
        "spectral_abscissa": pytest.approx(-0.1),
        "unproved": [],
    }


def test_report_is_the_worst_over_the_bank():
    one = np.ones((3, 1, 1))
    bank = diagonal([[0.5], [-0.99], [0.9]], one, one, 0 * one, discrete=True)
    report = analyse(bank, horizon=10**5)
    assert report.hinf == pytest.approx(100)
    assert 100 <= report.hinf_upper_bound <= 101
    assert report.h2 == pytest.approx(1 / math.sqrt(1 - 0.99**2))
    assert report.horizon_gain == pytest.approx(100, rel=1e-4)
    assert report.peak_frequency == pytest.approx(math.pi)
    assert report.spectral_radius == pytest.approx(0.99)


@pytest.mark.parametrize("pole", [1.0, 1.25, math.nan])
def test_unstable_report(pole):
    report = analyse(dense([[pole]], [[1.0]], [[1.0]], [[0.0]], discrete=True))
    assert not report.stable
    assert math.isinf(report.hinf)
    assert math.isinf(report.hinf_upper_bound)
    assert math.isinf(report.h2)
    assert report.margin == (-math.inf if math.isnan(pole) else 1 - pole)


def test_horizon_of_a_continuous_system_is_refused():
    with pytest.raises(UsageError, match="discretize it first"):
        analyse(resonator(1.0, 0.1), horizon=8)
