"""The two examples of stiffness: what their figure shows, measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tests.tools import load_tool


@pytest.fixture(scope="module")
def stiffness():
    return load_tool("stiffness")


@pytest.mark.parametrize(("number", "eigenvalues"), [(0, [-4, -1]), (1, [-2000, -1])])
def test_both_examples_have_the_solution_and_eigenvalues_that_are_said(
    stiffness, number, eigenvalues
):
    example = stiffness.EXAMPLES[number]
    assert sorted(np.linalg.eigvals(example.A)) == pytest.approx(eigenvalues)
    found = solve_ivp(example.slope, (0, 3), [1, 2], method="Radau", rtol=1e-10, atol=1e-12)
    assert found.y[:, -1] == pytest.approx(stiffness.solution(3.0), abs=1e-8)


def test_the_misprinted_example_has_another_solution(stiffness):
    printed = stiffness.Example("printed", np.array([[-1.0, 1], [2, -3]]), 3)
    t, d = 0.5, 1e-6
    slope = (stiffness.solution(t + d) - stiffness.solution(t - d)) / (2 * d)
    assert np.abs(slope - printed.slope(t, stiffness.solution(t))).max() > 0.1
    assert slope == pytest.approx(stiffness.EXAMPLES[0].slope(t, stiffness.solution(t)))


def test_errors_at_the_step_of_the_figure(stiffness):
    mild, stiff = stiffness.EXAMPLES
    for example, method, low, high in (
        (mild, stiffness.rk4, 0.5e-9, 2e-9),
        (mild, stiffness.midpoint, 0.5e-5, 2e-5),
        (stiff, stiffness.midpoint, 1e-5, 4e-5),
    ):
        worst = stiffness.errors(example, method, 0.01, 10.0).max()
        assert low < worst < high, (example.name, worst)


def test_rk4_diverges_at_the_second_step_as_its_stability_function_says(stiffness):
    error = stiffness.errors(stiffness.EXAMPLES[1], stiffness.rk4, 0.01, 1.0)
    assert error[0] < 0.01 < 10 < error[1]
    z = -2000 * 0.01
    growth = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    assert growth == pytest.approx(5514.33, abs=0.005)
    assert error[3] / error[2] == pytest.approx(growth, rel=1e-3)


def test_rk4_threshold(stiffness):
    z = -stiffness.RK4_INTERVAL
    assert 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24 == pytest.approx(1, abs=1e-12)
    stiff, threshold = stiffness.EXAMPLES[1], stiffness.RK4_INTERVAL / 2000
    below = stiffness.errors(stiff, stiffness.rk4, 0.995 * threshold, 2.0)
    above = stiffness.errors(stiff, stiffness.rk4, 1.01 * threshold, 2.0)
    assert below.max() < 1e-4
    assert above[-1] > 1e3


def test_the_table_and_the_figure(stiffness, tmp_path, capsys):
    assert stiffness.main(["--figure", str(tmp_path / "figure.png")]) == 0
    assert "h = 0.01, RK4, explicit: diverges at step 2" in capsys.readouterr().out
    assert 1000 < (tmp_path / "figure.png").stat().st_size < 100_000
