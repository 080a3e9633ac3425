"""Every figure has what it claims: read back from the axes, not from pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ssmbench.analysis.frequency import gain_over_frequency
from ssmbench.analysis.hankel import hankel_singular_values
from ssmbench.errors import UsageError
from ssmbench.figures.frequency import frequency_chart, frequency_figure
from ssmbench.figures.hankel import hankel_figure
from ssmbench.figures.impulse import impulse_figure
from ssmbench.figures.interactive import page, plotly_figure
from ssmbench.figures.poles import poles_chart, poles_figure
from ssmbench.figures.saving import save_figure
from ssmbench.figures.style import EARLIER, UNSTABLE
from ssmbench.figures.training import training_figure
from ssmbench.figures.worst_input import worst_input_figure
from ssmbench.systems import DiscreteDense, DiscreteDiagonal


def resonator(radius: float = 0.999, angle: float = 0.7) -> DiscreteDense:
    """One sharp resonance, at an angle that no even grid contains."""
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    A = radius * torch.tensor([turn], dtype=torch.float64)
    B = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    return DiscreteDense(A=A, B=B, C=B.mT, D=torch.zeros(1, 1, 1, dtype=torch.float64))


def bank(heads: int = 3, states: int = 4, seed: int = 0) -> DiscreteDiagonal:
    """A bank of stable conjugate pairs."""
    draw = torch.Generator().manual_seed(seed)
    size = {"generator": draw, "dtype": torch.float64}
    lam = torch.polar(
        0.5 + 0.4 * torch.rand(heads, states, **size), 3 * torch.rand(heads, states, **size)
    )
    B = torch.ones(heads, states, 1, dtype=torch.complex128)
    C = torch.randn(heads, 1, states, **size).to(torch.complex128)
    D = torch.randn(heads, 1, 1, **size)
    return DiscreteDiagonal(lam=lam, B=B, C=C, D=D, conjugate=True)


def words(figure: Figure) -> str:
    """All that a figure says."""
    own = [text.get_text() for text in figure.texts]
    texts = (text for axis in figure.axes for text in (axis.title, *axis.texts))
    return "\n".join([*own, *(text.get_text() for text in texts)]).replace("\n", " ")


# --- values ---------------------------------------------------------------------------------


def test_gain_over_frequency_is_that_of_scipy_and_reaches_its_peak():
    system = resonator()
    found = gain_over_frequency(system)
    A, B, C, D = (t[0].numpy() for t in (system.A, system.B, system.C, system.D))
    _, response = scipy.signal.dlti(A, B, C, D, dt=1).freqresp(w=found.omega)
    np.testing.assert_allclose(found.gain, np.abs(response), rtol=1e-9)
    assert found.gain.max() == pytest.approx(found.peak, rel=1e-9)
    assert found.peak_omega in found.omega
    assert found.peak_omega == pytest.approx(0.7, abs=1e-3)


def test_the_gain_of_a_bank_is_that_of_its_strongest_head():
    system = bank()
    found = gain_over_frequency(system)
    response = system.frequency_response(torch.from_numpy(found.omega))[..., 0, 0].abs()
    np.testing.assert_allclose(found.heads, response.numpy(), rtol=1e-9)
    np.testing.assert_array_equal(found.gain, found.heads.max(0))


def test_hankel_singular_values_are_those_of_the_gramians():
    system = bank()
    dense = system.to_dense()
    for head, found in enumerate(hankel_singular_values(system).numpy()):
        A, B, C = (t[head].numpy() for t in (dense.A, dense.B, dense.C))
        X = scipy.linalg.solve_discrete_lyapunov(A, B @ B.T)
        Y = scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C)
        expected = np.sort(np.sqrt(np.abs(np.linalg.eigvals(X @ Y))))[::-1]
        # An eigenvalue of X Y is off by about eps times the largest, its root by sqrt(eps).
        np.testing.assert_allclose(found, expected, atol=1e-7 * expected[0])


def test_an_unstable_head_has_no_hankel_singular_values_and_no_gain():
    system = bank()
    system = replace(system, lam=system.lam * torch.tensor([[1.0], [3.0], [1.0]]))
    values = hankel_singular_values(system)
    assert values.isinf().all(1).tolist() == [False, True, False]
    found = gain_over_frequency(system)
    assert math.isinf(found.peak)
    assert found.gain.shape == (0,)


# --- poles ----------------------------------------------------------------------------------


def test_poles_are_drawn_where_they_are_and_unstable_ones_are_red_and_counted():
    poles = np.array([0.5 + 0.1j, -0.2, 1.2j, 9.0, np.inf])
    (axis,) = poles_figure({"layer 0": poles}).axes
    inside, outside = axis.collections
    np.testing.assert_allclose(inside.get_offsets(), [[0.5, 0.1], [-0.2, 0.0]])
    np.testing.assert_allclose(outside.get_offsets(), [[0.0, 1.2]])
    assert to_hex(outside.get_edgecolor()[0]) == UNSTABLE.lower()
    said = words(axis.figure)
    assert "3 of 5 poles on or outside the circle" in said
    assert "largest modulus 9; 1 beyond this panel; 1 not finite" in said
    (circle,) = axis.patches
    assert circle.get_radius() == 1


def test_a_pole_on_the_circle_is_not_stable():
    assert "1 of 1 poles on or outside" in words(poles_figure({"a": np.array([1.0 + 0j])}))


def test_earlier_poles_are_fainter_the_older():
    now, before = {"a": np.array([0.9j])}, [{"a": np.array([0.1j])}, {"a": np.array([0.5j])}]
    (axis,) = poles_figure(now, earlier=before).axes
    oldest, older, newest = axis.collections
    assert oldest.get_alpha() < older.get_alpha() < newest.get_alpha()
    assert {to_hex(c.get_facecolor()[0]) for c in (oldest, older)} == {EARLIER.lower()}


@pytest.mark.parametrize(
    ("poles", "said"),
    [
        (np.array([]), "no poles: a static gain"),
        (np.array([np.inf, np.nan]), "no pole is a finite"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(poles, said):
    figure = poles_figure({"layer 0": poles.astype(complex)})
    assert said in words(figure)
    assert not figure.axes[0].axison


# --- gain ------------------------------------------------------------------------------------


def test_declared_bounds_are_dashed_labelled_lines_within_the_panel():
    systems = {"layer 0": resonator(0.9), "layer 1": resonator(0.8)}
    (axis,) = frequency_figure(systems, {"layer 0": 50.0, "layer 1": 0.01}).axes
    drawn = {line.get_ydata()[0]: line for line in axis.lines if line.get_linestyle() == "--"}
    assert set(drawn) == {50.0, 0.01}
    low, high = axis.get_ylim()
    assert low < 0.01
    assert high > 50
    said = words(axis.figure)
    assert "declared 50, layer 0" in said
    assert "declared 0.01, layer 1" in said
    curves = [line for line in axis.lines if line.get_linestyle() == "-"]
    assert [line.get_label() for line in curves] == list(systems)
    assert axis.get_yscale() == axis.get_xscale() == "log"


def test_one_line_for_a_bound_that_all_declare():
    systems = {"layer 0": resonator(0.9), "layer 1": resonator(0.8)}
    (axis,) = frequency_figure(systems, dict.fromkeys(systems, 20.0)).axes
    assert [t.get_text() for t in axis.texts if "declared" in t.get_text()] == ["declared 20"]


def test_the_gain_of_an_unstable_system_is_said_in_words():
    figure = frequency_figure({"layer 0": resonator(1.01)}, {"layer 0": None})
    assert "layer 0: unstable, so its gain is infinite" in words(figure)
    assert not figure.axes[0].axison


def test_a_complex_system_has_negative_frequencies():
    system = replace(bank(), conjugate=False)
    (axis,) = frequency_figure({"a": system}, {}).axes
    assert axis.get_xscale() == "linear"
    assert axis.get_xlim() == (-math.pi, math.pi)


# --- the others -------------------------------------------------------------------------------


def test_hankel_values_of_a_bank_are_a_median_and_a_range():
    heads = np.array([[4.0, 1.0], [2.0, 0.5], [3.0, 0.1]])
    (axis,) = hankel_figure({"bank": heads, "one": np.array([1.0, 1e-3])}).axes
    bank_line, one = axis.lines
    np.testing.assert_allclose(bank_line.get_ydata(), [3.0, 0.5])
    np.testing.assert_allclose(one.get_ydata(), [1.0, 1e-3])
    edges = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (0.1, 4.0)
    assert axis.get_yscale() == "log"
    unstable = np.array([[1.0], [np.inf], [np.inf]])
    assert "2 of 3 heads unstable" in words(hankel_figure({"bank": unstable}))


def test_the_strongest_impulse_responses_are_drawn():
    responses = np.arange(6.0)[:, None] * np.ones((6, 10))
    (axis,) = impulse_figure({"layer 0": responses}).axes
    assert [line.get_ydata()[0] for line in axis.lines] == [5.0, 4.0, 3.0, 2.0]
    assert "4 of 6 responses" in words(axis.figure)


def test_an_impulse_response_that_overflows_is_said_in_words():
    grown = np.stack([np.ones(5), np.array([1, 10, np.inf, np.nan, 0])])
    figure = impulse_figure({"layer 0": grown})
    assert len(figure.axes[0].lines) == 1
    assert "1 of 2 responses are not finite" in words(figure)


def test_the_worst_input_is_above_its_output_and_the_title_has_the_gain():
    u, y = np.ones((20, 2)), 3 * np.ones((20, 2))
    figure = worst_input_figure(u, y, "layer 0")
    above, below = figure.axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), u[:, 0])
    np.testing.assert_array_equal(below.lines[1].get_ydata(), y[:, 1])
    assert "gain 3" in figure.get_suptitle()
    assert "the output is not finite" in words(worst_input_figure(u, y * np.nan))


def test_training_curves_of_several_runs_share_a_panel():
    steps = [0, 10, 20]
    curves = {
        "val loss": {"a": (steps, [1.0, 0.1, 0.01]), "b": (steps, [1.0, math.nan, 0.5])},
        "val accuracy": {"a": (steps, [0.1, 0.5, 0.9])},
    }
    figure = training_figure(curves)
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["a", "b"]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [1.0, np.nan, 0.5])
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert loss.lines[0].get_color() == accuracy.lines[0].get_color()
    assert "b: 1 of 3 not finite, from step 10" in words(figure)


# --- files --------------------------------------------------------------------------------------


def test_the_page_has_the_same_points_as_the_picture():
    chart = frequency_chart({"": {"a": resonator()}}, {"": {"a": 3.0}}, "Gain")
    curve, bound = plotly_figure(chart).data
    (axis,) = frequency_figure({"a": resonator()}, {"a": 3.0}).axes
    np.testing.assert_array_equal(curve.y, axis.lines[0].get_ydata())
    assert (bound.y[0], bound.line.dash, bound.text[0]) == (3.0, "dash", "declared 3")
    text = page(chart)
    assert 'src="http' not in text
    assert "<h1>Gain</h1>" in text


def test_names_on_a_page_are_text_and_not_markup():
    text = page(poles_chart({"<script>": np.array([0.5 + 0j])}, "<b>"))
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_a_figure_is_saved_by_its_suffix_and_is_the_same_file_each_time(tmp_path, suffix):
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix.lower()]
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        save_figure(poles_figure({"a": np.array([0.5 + 0j])}), file)
    assert files[0].read_bytes().startswith(begins)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.html"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"suffix.*says the format.*\.png"):
        save_figure(Figure(), tmp_path / name)
    assert not (tmp_path / name).exists()
