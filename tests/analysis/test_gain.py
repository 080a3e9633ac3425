"""The gain report, and reading a system from a file that a person wrote."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from ssmbench.analysis.gain import analyse, load_system
from ssmbench.errors import UsageError
from ssmbench.systems import ContinuousDense, DiscreteDense
from tests.analysis.systems_for_tests import dense, diagonal, resonator

GOOD = {
    "A": np.array([[0.5, 0.1], [0.0, -0.3]]),
    "B": np.ones((2, 1)),
    "C": np.ones((1, 2)),
    "D": np.zeros((1, 1)),
}


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


# --- files that are right ----------------------------------------------------------------------


def saved(tmp_path, **arrays):
    path = tmp_path / "system.npz"
    np.savez(path, **arrays)
    return path


def test_time_domain_by_dt(tmp_path):
    assert isinstance(load_system(saved(tmp_path, **GOOD)), ContinuousDense)
    assert isinstance(load_system(saved(tmp_path, **GOOD, dt=0)), ContinuousDense)
    for dt in (0.01, 1, np.array([[2.0]])):
        assert isinstance(load_system(saved(tmp_path, **GOOD, dt=dt)), DiscreteDense)


def test_single_channel_short_forms(tmp_path):
    short = {**GOOD, "B": np.array([1, 2]), "C": np.array([3, 4]), "D": 5, "dt": 1}
    system = load_system(saved(tmp_path, **short))
    assert system.B[0].tolist() == [[1], [2]]
    assert system.C[0].tolist() == [[3, 4]]
    assert system.D[0].tolist() == [[5]]
    assert system.B.dtype == torch.float64


def test_bank_and_complex_matrices(tmp_path):
    bank = {key: np.stack([value, 2 * value, 3 * value]) for key, value in GOOD.items()}
    bank["A"] = bank["A"] + 0j
    system = load_system(saved(tmp_path, **bank, dt=1))
    assert system.copies == 3
    assert system.A.dtype == torch.complex128
    assert torch.equal(system.B[2], torch.full((2, 1), 3.0, dtype=torch.float64))


# --- files that are wrong ----------------------------------------------------------------------

WRONG = {
    "missing D": ({"D": None}, r"missing D \(found: A, B, C\)"),
    "missing several": ({"A": None, "C": None}, r"missing A, C"),
    "unknown key": ({"step": 1.0}, r"unknown key 'step'; known: A, B, C, D, dt"),
    "A not square": ({"A": np.ones((2, 3))}, r"A has shape \(2, 3\).*must be \(2, 2\)"),
    "A a vector": ({"A": np.ones(2)}, r"A has shape \(2,\); allowed: \(N, N\)"),
    "B too tall": ({"B": np.ones((3, 1))}, r"B has shape \(3, 1\).*N=2.*must be \(2, 1\)"),
    "B too short, one channel": ({"B": np.ones(3)}, r"B has shape \(3, 1\).*must be \(2, 1\)"),
    "C transposed": ({"C": np.ones((2, 1))}, r"C has shape \(2, 1\).*must be \(2, 2\)"),
    "D misfit": ({"D": np.ones((2, 2))}, r"D has shape \(2, 2\).*must be \(1, 1\)"),
    "D a vector": ({"D": np.ones(1)}, r"D has shape \(1,\); allowed: \(p, m\) or a scalar"),
    "bank for A alone": ({"A": np.ones((3, 2, 2))}, r"B has shape \(2, 1\); allowed: \(H, N, m\)"),
    "bank for B alone": ({"B": np.ones((3, 2, 1))}, r"B has shape \(3, 2, 1\); allowed: \(N, m\)"),
    "no states": (
        {"A": np.ones((0, 0)), "B": np.ones((0, 1)), "C": np.ones((1, 0))},
        r"A is empty, shape \(0, 0\)",
    ),
    "NaN": ({"A": np.array([[np.nan, 1], [np.inf, 0]])}, r"A holds 2 NaN or infinite of 4"),
    "too large for a double": (
        {"D": np.full((1, 1), np.longdouble("1e4000"))},
        r"D holds 1 NaN or",
    ),
    "text": ({"C": np.array([["a", "b"]])}, r"C has dtype <U1; allowed: integers, real"),
    "booleans": ({"A": np.eye(2, dtype=bool)}, r"A has dtype bool; allowed"),
    "objects": ({"B": np.array([[None], [1]], dtype=object)}, r"B is an array of Python objects"),
    "negative dt": ({"dt": -0.1}, r"dt is -0\.1; allowed: 0"),
    "complex dt": ({"dt": 1j}, r"dt is 1j; allowed: 0"),
    "many dt": ({"dt": np.ones(2)}, r"dt has shape \(2,\); allowed: one number"),
    "NaN dt": ({"dt": np.nan}, r"dt holds 1 NaN or infinite of 1"),
}


def refused(path, pattern: str) -> None:
    """One line that names the file and says what is wrong."""
    with pytest.raises(UsageError) as caught:
        load_system(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert re.search(pattern, message), message


@pytest.mark.parametrize("case", WRONG)
def test_wrong_contents(tmp_path, case):
    change, pattern = WRONG[case]
    arrays = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    refused(saved(tmp_path, **arrays), pattern)


def test_wrong_files(tmp_path):
    refused(tmp_path / "absent.npz", "no such file")
    refused(tmp_path, "cannot be read")
    text, empty, bare = (tmp_path / name for name in ("text.npz", "empty.npz", "bare.npz"))
    text.write_text("A = 1")
    empty.write_bytes(b"")
    with bare.open("wb") as file:
        np.save(file, np.eye(2))
    refused(text, "not a NumPy .npz archive")
    refused(empty, "not a NumPy .npz archive")
    refused(bare, "one bare array")


def test_damaged_archives(tmp_path):
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **GOOD)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "not a NumPy .npz archive")
    path.write_bytes(whole[:60] + bytes(80) + whole[140:])
    refused(path, "damaged|not a NumPy")


def test_pickles_are_never_loaded(tmp_path):
    """Unpickling runs code that the file names: here it would create a second file."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    trap = np.empty((1, 1), dtype=object)
    trap[0, 0] = Trap()
    refused(saved(tmp_path, **{**GOOD, "D": trap}), "never unpickled")
    assert not trace.exists()
