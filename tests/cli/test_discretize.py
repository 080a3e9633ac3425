"""``ssmbench discretize``, ``plot stability`` and ``show discretizer``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
from matplotlib import image

from ssmbench import jsonio

A = np.array([[0.0, 1.0], [-1.0, -0.04]])
MATRICES = {
    "A": A,
    "B": np.array([[0.0], [1.0]]),
    "C": np.array([[1.0, 0.0]]),
    "D": np.zeros((1, 1)),
}


@pytest.fixture
def oscillator(workplace):
    """Save a continuous resonator, but for what is changed or left out."""

    def save(name="system.npz", without="", **changes):
        content = {k: v for k, v in (MATRICES | changes).items() if k != without}
        np.savez(workplace / name, **content)
        return name

    return save


def one_error(answer) -> str:
    lines = answer.err.strip().splitlines()
    assert (answer.code, answer.out, len(lines)) == (2, "", 1), answer
    return lines[0]


# --- discretize ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "theirs"),
    [("zoh", (), "zoh"), ("foh", (), "foh"), ("gbt", ("--options", "alpha=0.75"), "gbt")],
)
def test_writes_the_discrete_matrices(method, options, theirs, ssmbench, oscillator, workplace):
    answer = ssmbench(
        "discretize", oscillator(), "--method", method, "--dt", 0.5, "--out", "d.npz", *options,
        "--json",
    )  # fmt: skip
    said = jsonio.loads(answer.out)
    with np.load(workplace / "d.npz") as saved:
        found = dict(saved)
    expected = scipy.signal.cont2discrete(tuple(MATRICES.values()), 0.5, theirs, alpha=0.75)
    assert found["dt"] == 0.5
    assert {key: found[key].shape for key in "ABCD"} == {k: v.shape for k, v in MATRICES.items()}
    for z in (1.0, 1j, -1.0):  # the transfer function: states may be in other coordinates
        ours, scipys = (
            c @ np.linalg.solve(z * np.eye(2) - a, b.astype(complex)) + d
            for a, b, c, d in ([found[k] for k in "ABCD"], expected[:4])
        )
        np.testing.assert_allclose(ours, scipys, rtol=1e-9)
    assert (said["stable"], said["method"]["name"], answer.err) == (True, method, "")
    assert said["hinf_continuous"] == pytest.approx(1 / 0.04 / math.sqrt(1 - 0.0004))
    assert "hinf" in ssmbench("gain", "d.npz", "--json").out


def test_an_unstable_choice_is_made_but_not_in_silence(ssmbench, oscillator, workplace):
    arguments = ("--method", "forward_euler", "--dt", 0.5, "--out", "d.npz")
    answer = ssmbench("discretize", oscillator(), *arguments)
    assert answer.code == 0
    assert answer.err.startswith("warning: forward_euler: step size 0.5 makes the stable system")
    assert answer.err.endswith("largest stable step 0.04\n")
    assert (workplace / "d.npz").exists()


def test_banks_and_short_forms(ssmbench, oscillator, workplace):
    bank = {k: np.stack([v, 2 * v]) for k, v in MATRICES.items()}
    arguments = ("--method", "sdirk2", "--dt", 0.1, "--out", "d.npz", "--json")
    assert ssmbench("discretize", oscillator(**bank), *arguments).code == 0
    with np.load(workplace / "d.npz") as saved:
        assert saved["A"].shape == (2, 2, 2)
    short = {"B": MATRICES["B"][:, 0], "C": MATRICES["C"][0], "D": np.float64(0.0)}
    assert ssmbench("discretize", oscillator(**short), *arguments).code == 0


REFUSED = {
    "no such method": ({}, {"--method": "rk5"}, "unknown discretizer 'rk5': did you mean"),
    "missing key": ({"without": "C"}, {}, "system.npz: missing C (found: A, B, D)"),
    "shape": ({"B": np.ones((3, 1))}, {}, "B has shape (3, 1), but with N=2 states"),
    "discrete already": ({"dt": 0.1}, {}, "is discrete already"),
    "step": ({}, {"--dt": -1.0}, "dt must be positive and finite, got -1.0"),
    "step nan": ({}, {"--dt": "nan"}, "dt must be positive and finite, got nan"),
    "option": ({}, {"--options": "alpha=0.3"}, "discretize (zoh): alpha"),
    "option's form": ({}, {"--options": "alpha"}, "override 'alpha': must be key=value"),
    "option's value": (
        {},
        {"--method": "gbt", "--options": "alpha=3"},
        "gbt: alpha: must be in [0, 1], got 3.0",
    ),
    "method twice": ({}, {"--options": "name=rk4"}, "the method is named by --method"),
    "no folder": ({}, {"--out": "nowhere/d.npz"}, "nowhere/d.npz: cannot be written"),
    "pole": (
        {"A": np.diag([4.0, -1.0])},
        {"--method": "implicit_midpoint", "--dt": 0.5},
        "a pole of the system times dt is a pole of this method",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_answered_in_one_line(case, ssmbench, oscillator, workplace):
    changes, flags, says = REFUSED[case]
    given = {"--method": "zoh", "--dt": 0.1, "--out": "d.npz"} | flags
    words = [word for pair in given.items() for word in pair]
    error = one_error(ssmbench("discretize", oscillator(**changes), *words))
    assert says in error
    assert not (workplace / "d.npz").exists()


def test_a_missing_file_is_named(ssmbench, workplace):
    answer = ssmbench("discretize", "no.npz", "--method", "zoh", "--dt", 1, "--out", "d.npz")
    assert "no.npz: no such file" in one_error(answer)


# --- show ---------------------------------------------------------------------------------------


def test_show_prints_computed_facts(ssmbench, workplace):
    facts = jsonio.loads(ssmbench("show", "discretizer", "rk4", "--json").out)["facts"]
    assert (facts["order"], facts["a_stable"]) == (4, False)
    assert facts["real_interval"] == pytest.approx(2.785294, rel=1e-6)
    assert facts["imaginary_interval"] == pytest.approx(2 * math.sqrt(2))
    table = ssmbench("show", "discretizer", "rk4").out
    assert "2.78529" in table
    assert "2.82843" in table


# --- plot ---------------------------------------------------------------------------------------


def test_plots_regions_with_a_systems_poles(ssmbench, oscillator, workplace):
    arguments = ("forward_euler", "zoh", "--system", oscillator(), "--dt", 1.0, "-o", "r.png")
    said = jsonio.loads(ssmbench("plot", "stability", *arguments, "--json").out)
    assert said == {
        "output": str(workplace / "r.png"),
        "points": 2,
        "stable_points": {"forward_euler": 0, "zoh": 2},
    }
    pixels = image.imread(workplace / "r.png")
    red = (pixels[..., 0] > 0.9) & (pixels[..., 1] < 0.2) & (pixels[..., 2] < 0.2)
    half = pixels.shape[1] // 2
    assert red[:, :half].any(), "forward Euler's unstable poles are shown in red"
    assert not red[:, half:].any(), "zero-order hold has none"


def test_plots_the_poles_of_a_run(ssmbench, write, tiny, workplace):
    tiny["model"]["discretizer"] = "rk4"
    run = jsonio.loads(ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json").out)
    out = ssmbench("plot", "stability", "rk4", "--run", run["folder"]).out
    assert f"picture: {workplace / 'stability.png'}" in out
    assert (workplace / "stability.png").exists()
    assert "16" in out  # 4 heads of 4 poles


PLOT_REFUSED = {
    "unknown": (("rk5",), "unknown discretizer 'rk5'"),
    "no step": (("rk4", "--system", "system.npz"), "--system and --dt: give both or neither"),
    "no system": (("rk4", "--dt", "1"), "--system and --dt: give both or neither"),
    "both": (("rk4", "--run", "x", "--system", "y", "--dt", "1"), "give one of them"),
    "no run": (("rk4", "--run", "nowhere"), "nowhere: no such folder"),
    "no folder": (("rk4", "-o", "nowhere/r.png"), "nowhere/r.png: cannot be written"),
}


@pytest.mark.parametrize("case", PLOT_REFUSED)
def test_plot_refuses_in_one_line(case, ssmbench, oscillator):
    oscillator()
    arguments, says = PLOT_REFUSED[case]
    assert says in one_error(ssmbench("plot", "stability", *arguments))


# --- run ----------------------------------------------------------------------------------------


def test_a_run_warns_before_training_and_says_so_again(ssmbench, write, tiny):
    tiny["model"] |= {
        "parametrization": {"name": "s4d", "d_state": 4, "dt_min": 0.5, "dt_max": 0.5},
        "discretizer": "forward_euler",
    }
    answer = ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json")
    warned = [line for line in answer.err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert "forward_euler in layer 0: step size 0.5 makes 4 of 4 stable systems" in warned[0]
    result = jsonio.loads(answer.out)
    assert result["warnings"] == [warned[0].removeprefix("warning: ")]
    assert "largest stable step" in ssmbench("run", "mine.yaml", "-o", "out").out


def test_a_run_without_trouble_warns_of_nothing(ssmbench, write, tiny):
    answer = ssmbench("run", write("mine.yaml", tiny), "-o", "out", "--json")
    assert "warning" not in answer.err
    assert jsonio.loads(answer.out)["warnings"] == []
