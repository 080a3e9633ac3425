"""``ssmbench plot FIGURE RUN...`` and ``ssmbench compare RUN RUN...``, on tiny trained runs."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import ssmbench as sb
from ssmbench import jsonio, registry
from ssmbench.library.plots import KINDS
from ssmbench.runs.poles import read_poles, write_poles
from tests.conftest import TINY


@dataclass(frozen=True)
class Trained:
    """Runs of two layers or one: a bank, one with a declared gain, one that varies in time."""

    s4d: sb.Run
    l2ru: sb.Run
    selective: sb.Run


def trained(root: Path, **model: object) -> sb.Run:
    config = copy.deepcopy(TINY)
    config["model"] |= {"discretizer": None} | model
    config["trainer"]["max_epochs"] = 2
    config["analysis"] |= {"every_n_epochs": 1, "figures": 0.0, "robustness_sequences": 4}
    return sb.train(config, output=root, progress=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Trained]:
    root = tmp_path_factory.mktemp("runs")
    s4d, selective = ({"name": name, "d_state": n} for name, n in (("s4d", 4), ("selective", 2)))
    l2ru = {"name": "l2ru", "gamma": 5.0}
    with registry.isolated(rediscover=True):
        yield Trained(
            s4d=trained(root, parametrization=s4d, discretizer="zoh", n_layers=2),
            l2ru=trained(root, parametrization=l2ru),
            selective=trained(root, parametrization=selective, discretizer="zoh"),
        )


def error_of(answer) -> str:
    """The one line that a refused call prints."""
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    return line


# --- plot ---------------------------------------------------------------------------------------


def test_poles_are_those_that_the_run_left(runs):
    chart = sb.plot("poles", runs.s4d).chart
    saved = read_poles(runs.s4d.folder)
    assert saved is not None
    assert [panel.title for panel in chart.panels] == ["layer 0", "layer 1"]
    for panel, poles in zip(chart.panels, saved.values(), strict=True):
        drawn = np.concatenate([series.x + 1j * series.y for series in panel.series])
        np.testing.assert_array_equal(np.sort_complex(drawn), np.sort_complex(poles.ravel()))


def test_the_peak_of_each_curve_is_the_verified_gain_of_the_layer(runs):
    (panel,) = sb.plot("gain", runs.s4d).chart.panels
    peaks = [series.y.max() for series in panel.series]
    verified = [layer.verified for layer in runs.s4d.gains.layers]
    # The curve's are of float64, as the proof's lower bound, which is within 1% of its upper one.
    np.testing.assert_allclose(peaks, verified, rtol=1e-6)


def test_runs_share_the_panel_of_a_layer_and_the_declared_gain_is_a_line(runs):
    made = sb.plot("gain", runs.s4d, runs.l2ru)
    assert list(made.runs) == ["s4d zoh", "l2ru"]
    first, second = made.chart.panels
    assert [series.label for series in first.series] == ["s4d zoh", "l2ru"]
    assert [series.label for series in second.series] == ["s4d zoh"]
    assert [bound.value for bound in first.bounds] == [runs.l2ru.gains.declared]
    assert first.bounds[0].label == "declared 5, l2ru"


def test_what_is_frozen_of_a_layer_that_varies_in_time_is_said(runs):
    for kind in ("gain", "kernel", "hankel"):
        (note,) = sb.plot(kind, runs.selective).notes
        assert "layer 0: time-varying, frozen at steps 0, 9, 18" in note
        assert "no bound on its gain" in note
    assert "frozen at some steps" in sb.plot("poles", runs.selective).chart.notes[0]


def test_a_kernel_begins_with_the_feedthrough_and_ends_where_it_has_decayed(runs):
    panel = sb.plot("kernel", runs.s4d).chart.panels[0]
    system = runs.s4d.model.layers[0].system()
    first = sorted(float(series.y[0]) for series in panel.series)
    # The layer is of float32, its response of float64.
    assert first == pytest.approx(sorted(system.D.flatten().tolist()), rel=1e-6)
    assert all(abs(series.y[-1]) < 0.02 * abs(series.y).max() for series in panel.series)


def test_training_curves_are_what_was_logged(runs):
    chart = sb.plot("training", runs.s4d, runs.l2ru).chart
    panels = {panel.title: panel for panel in chart.panels}
    assert {"train loss", "val loss", "val accuracy", "layer 0: verified gain"} <= set(panels)
    assert "network bound (layers as computed)" in panels
    lines = jsonio.read_lines(runs.l2ru.folder / "metrics.jsonl")
    logged = [line["val/loss"] for line in lines if "val/loss" in line]
    assert len(logged) == 2
    np.testing.assert_array_equal(panels["val loss"].series[1].y, logged)
    assert [bound.value for bound in panels["layer 0: verified gain"].bounds] == [
        runs.l2ru.gains.declared
    ]
    assert [series.label for series in panels["layer 1: spectral radius"].series] == ["s4d zoh"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_writes_its_figure_and_says_where(kind, runs, ssmbench, workplace):
    answer = ssmbench("plot", kind, runs.l2ru.folder, "--json")
    said = jsonio.loads(answer.out)
    file = workplace / f"{kind}.png"
    assert said["output"] == str(file)
    assert said["runs"] == {"l2ru": str(runs.l2ru.folder)}
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_figure_as_a_page(runs, ssmbench, workplace):
    out = ssmbench("plot", "poles", runs.s4d.folder, "-o", "poles.html").out
    assert out.splitlines()[-1] == f"picture: {workplace / 'poles.html'}"
    assert "Plotly.relayout" in (workplace / "poles.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_run_is_refused_in_one_line(kind, runs, ssmbench, workplace):
    folder = workplace / "abcdef012345"
    folder.mkdir()
    shutil.copy(runs.s4d.folder / "config.yaml", folder)
    line = error_of(ssmbench("plot", kind, folder))
    says = {"poles": "no poles.npz", "training": "nothing was logged"}.get(kind, "no checkpoint")
    assert f"{folder}: {says}" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plot", "gain", "nosuch"), "nosuch: no such folder"),
        (("plot", "gain", "."), "not the folder of a run (it has no config.yaml)"),
        (("plot", "gain", "{run}", "-o", "a.jpg"), "a.jpg: unknown suffix '.jpg'"),
        (("plot", "gain", "{run}", "-o", "no/a.png"), "no/a.png: cannot be written"),
        (("compare", "{run}"), "compare: name at least two runs, got 1"),
        (("compare", "{run}", "{run}"), "is given twice"),
        (("compare", "{run}", "nosuch"), "nosuch: no such folder"),
        (("compare", "{run}", "{other}", "-o", "a"), "a: the name has no suffix"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_one_line(arguments, says, runs, ssmbench, workplace):
    names = {"run": runs.s4d.folder, "other": runs.l2ru.folder}
    assert says in error_of(ssmbench(*(word.format(**names) for word in arguments)))
    assert list(workplace.iterdir()) == []


def test_runs_that_are_alike_have_the_names_of_their_folders(runs, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(runs.s4d.folder, twin)
    made = sb.plot("poles", runs.s4d, twin)
    assert list(made.runs) == [f"s4d {runs.s4d.folder.name}", "s4d twin"]


def test_unstable_poles_are_among_the_notes(runs, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(runs.s4d.folder, twin)
    write_poles(twin, [np.array([0.5, 1.5 + 0j])])
    assert sb.plot("poles", twin).notes == (
        "1 of 2 poles on or outside the circle; largest modulus 1.5",
    )


def test_an_unknown_figure_is_refused(runs):
    with pytest.raises(sb.UsageError, match="unknown figure 'pole'; did you mean 'poles'"):
        sb.plot("pole", runs.s4d)


# --- compare --------------------------------------------------------------------------------------


def table(found: sb.Comparison, title: str) -> dict[str, tuple]:
    (section,) = (section for section in found.sections if section.title.startswith(title))
    return {row.name: row.values for row in section.rows}


def test_a_comparison_shows_only_what_differs_of_the_configs(runs):
    configs = table(sb.compare(runs.s4d, runs.l2ru), "config")
    assert configs["model.n_layers"] == (2, 1)
    assert configs["model.parametrization.gamma"] == ("-", 5.0)
    assert "seed" not in configs
    assert all(left != right for left, right in configs.values())


def test_a_comparison_has_the_figures_of_the_results(runs):
    found = sb.compare(runs.s4d, runs.l2ru, runs.selective)
    gains, sizes = table(found, "gains"), table(found, "size")
    of = [runs.s4d, runs.l2ru, runs.selective]
    assert gains["verified"] == (of[0].gains.verified, of[1].gains.verified, "-")
    assert gains["declared"] == ("-", of[1].gains.declared, "-")
    assert gains["frozen (no bound)"][2] == of[2].gains.frozen
    assert gains["network bound"] == tuple(run.gains.network.bound for run in of)
    assert sizes["parameters"] == tuple(run.result.parameters for run in of)
    # Two banks of 4 channels with 4 / 2 complex modes of two numbers; d_model; 4 channels with 2.
    assert sizes["states"] == (2 * 4 * 4, 4, 4 * 2)
    assert table(found, "scores")["test accuracy"] == tuple(run.scores.test for run in of)


def test_the_better_score_is_marked_and_the_difference_is_given(runs, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(runs.s4d.folder, twin)
    result = jsonio.read(twin / "result.json")
    result["scores"]["test"] = runs.s4d.scores.test + 0.25
    (twin / "result.json").write_text(jsonio.dumps(result))
    found = sb.compare(runs.s4d, twin).to_dict()
    row = found["scores"]["rows"]["test accuracy"]
    assert row["best"] == [1]
    assert row["difference"] == pytest.approx(0.25)
    assert found["scores"]["rows"]["val accuracy"]["best"] == []


def test_scores_of_different_tasks_are_not_set_against_each_other(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs.l2ru.folder, other)
    result = jsonio.read(other / "result.json")
    result["task"]["data_digest"] = "0123"
    (other / "result.json").write_text(jsonio.dumps(result))
    found = sb.compare(runs.s4d, other).to_dict()["scores"]
    assert all(row["best"] == [] for row in found["rows"].values())
    assert any("scores on different data do not compare" in note for note in found["notes"])


def test_a_diverged_run_is_compared_as_far_as_it_goes(runs, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(runs.l2ru.folder, lost)
    (lost / "metrics.jsonl").unlink()
    result = jsonio.read(lost / "result.json") | {"status": "diverged", "scores": None}
    result["gain"]["verified"] = math.inf
    (lost / "result.json").write_text(jsonio.dumps(result))
    (lost / "status.json").write_text(jsonio.dumps({"state": "diverged"}))
    found = sb.compare(runs.s4d, lost)
    assert table(found, "scores")["state"] == ("finished", "diverged")
    assert table(found, "scores")["test accuracy"] == (runs.s4d.scores.test, "-")
    assert table(found, "gains")["verified"][1] == math.inf
    notes = sb.plot("training", runs.s4d, lost).notes
    assert notes == ("l2ru: diverged before anything was logged",)


def test_compare_prints_tables_and_writes_a_page(runs, ssmbench, workplace):
    answer = ssmbench("compare", runs.s4d.folder, runs.l2ru.folder, "-o", "page.html")
    assert "second / first" in answer.out
    assert "one run each: a difference may be that of seeds" in answer.out
    page = (workplace / "page.html").read_text()
    assert page.count("<table>") >= 4
    assert "layer 0: verified gain" in page
    said = jsonio.loads(ssmbench("compare", runs.s4d.folder, runs.l2ru.folder, "--json").out)
    assert said["runs"] == {"s4d zoh": str(runs.s4d.folder), "l2ru": str(runs.l2ru.folder)}
