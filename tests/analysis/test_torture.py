"""A sample of the torture set (``python tools/torture.py`` has all of it), and its oracle."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import slycot
from mpmath import mp

from ssmbench.analysis.gain import analyse
from tests.analysis.torture import judge, kept
from tests.analysis.torture.case import dense_case
from tests.analysis.torture.named import named
from tests.analysis.torture.oracle import figures
from tests.analysis.torture.parts import KINDS

#: Systems of each kind, beside those that once had a wrong answer.
EACH = 4
NAMES = [f"{kind}-{number}" for kind in KINDS for number in range(EACH)]
NAMED = {case.name: case for case in named()}


@pytest.fixture(scope="module")
def rows():
    return kept.load_kept()


# --- the gain report ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMED, *NAMES])
def test_a_report_is_right_or_says_unproved(name, rows, capfd):
    case = NAMED.get(name) or kept.drawn(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = analyse(case.system())
    assert judge.wrong(report, kept.truth_of(case, rows)) == []
    assert capfd.readouterr() == ("", "")


# --- the oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_oracle_agrees_with_slycot_where_nothing_is_difficult(number):
    case = kept.drawn(f"benign-{number}")
    A, B, C, D = (array[0] for array in case.arrays())
    if any(map(np.iscomplexobj, (A, B, C, D))):
        A, B, C, D = (np.block([[M.real, -M.imag], [M.imag, M.real]]) for M in (A, B, C, D))
    domain, (p, m) = "D" if case.discrete else "C", D.shape
    norm, _ = slycot.ab13dd(domain, "I", "N", "D", len(A), m, p, A, np.eye(len(A)), B, C, D, 1e-10)
    found = figures(case)
    assert float(found.hinf) == pytest.approx(norm, rel=1e-8)
    if case.discrete or not D.any():
        copied = 2 if len(A) > case.A.shape[1] else 1
        energy = slycot.ab13bd(domain, "H", len(A), m, p, A, B, C, D) ** 2 / copied
        assert float(found.h2) == pytest.approx(math.sqrt(energy), rel=1e-8)


@pytest.mark.parametrize("s", [0.0, 1.0, 1e8, 2.0**200])
def test_oracle_on_a_closed_form(s):
    """0.5 I + s N with N N = 0 and C N B = 0: the impulse response does not know s."""
    pole = 0.5 if s < 2**53 else 0.0  # beside 2^200 nothing is left of 0.5
    A = pole * np.eye(2) + s * np.array([[1.0, 1.0], [-1.0, -1.0]])
    found = figures(dense_case("closed", True, A, np.ones((2, 1)), np.ones((1, 2)), 0))
    assert float(found.extent) == pytest.approx(pole, abs=1e-20)
    assert float(found.hinf) == pytest.approx(2 / (1 - pole), rel=1e-8)
    assert float(found.h2) == pytest.approx(2 / math.sqrt(1 - pole**2), rel=1e-12)


@pytest.mark.parametrize("name", ["butterworth-3", "nearly_on_the_boundary-1", "sheared_pair-2"])
def test_what_is_kept_is_what_the_oracle_finds(name, rows):
    case = kept.drawn(name)
    now, before = figures(case), kept.truth_of(case, rows)
    for field in kept.FIELDS:
        one, two = getattr(now, field), getattr(before, field)
        assert one == two or abs(one - two) <= mp.mpf("1e-12") * abs(one)


def test_kept_values_belong_to_their_numbers(rows):
    for case in kept.torture_set():
        assert rows[case.name][0] == case.digest(), case.name
    assert len(rows) == kept.SIZE


# --- the judge ----------------------------------------------------------------------------------


WRONG = {
    "stability": (lambda r: {"stable": False}, "stable: no, is yes"),
    "radius": (lambda r: {"spectral_radius": r.spectral_radius * (1 + 1e-5)}, "spectral_radius: "),
    "margin": (lambda r: {"margin": r.margin + 1e-5}, "margin: "),
    "bound": (lambda r: {"hinf_upper_bound": r.hinf * (1 - 1e-7)}, "hinf_upper_bound: "),
    "loose bound": (lambda r: {"hinf_upper_bound": r.hinf * 1.02}, "wider than 1%"),
    "no number": (lambda r: {"hinf": math.nan}, "hinf: nan"),
    "hinf": (lambda r: {"hinf": r.hinf_upper_bound * 1.01}, "outside"),
    "h2": (lambda r: {"h2": r.h2 * (1 + 2e-6)}, "h2: "),
    "h2 of nothing": (lambda r: {"h2": 0.0}, "h2: 0, is"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_judge_finds_what_is_wrong(what, rows):
    change, says = WRONG[what]
    case = kept.drawn("benign-0")
    truth, right = kept.truth_of(case, rows), analyse(case.system())
    assert judge.wrong(right, truth) == []
    found = judge.wrong(dataclasses.replace(right, **change(right)), truth)
    assert any(says in sentence for sentence in found), found
