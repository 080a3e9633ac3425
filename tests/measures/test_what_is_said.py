"""What measures say of batches and of unproved figures, and which options they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ssmbench as sb
from ssmbench import registry
from ssmbench.analysis.interval import UNKNOWN, UNPROVED, Interval
from ssmbench.analysis.measured import Measured
from ssmbench.build.check import check_parts
from ssmbench.config import resolve, typed
from ssmbench.errors import UsageError
from ssmbench.measures.base import Finding, Measure
from ssmbench.measures.chosen import chosen, label
from ssmbench.systems import ContinuousDense, DiscreteDense


def test_an_overshoot_of_a_batch_holds_with_its_rate():
    """Each head has a rate and an overshoot of its own; the pair that is given holds for both."""
    A = np.array([[[0.9, 0.0], [0.0, 0.9]], [[0.5, 100.0], [0.0, 0.5]]])
    one = np.ones((2, 2, 1))
    system = DiscreteDense(
        A=torch.from_numpy(A),
        B=torch.from_numpy(one),
        C=torch.from_numpy(one.transpose(0, 2, 1).copy()),
        D=torch.zeros(2, 1, 1).double(),
    )
    found = registry.measures.get("decay").build().measure(system)
    rate, overshoot = found.proved.upper, found.details["overshoot"]
    norms = [np.linalg.norm(np.linalg.matrix_power(head, k), 2) for head in A for k in range(60)]
    allowed = [overshoot * rate**k for _ in A for k in range(60)]
    assert (np.array(norms) <= np.array(allowed) * (1 + 1e-12)).all()
    assert found.details["overshoot_attacked"] <= overshoot


def test_a_system_of_which_nothing_is_proved_gives_the_batch_no_verdict():
    nothing, proved = Finding(UNKNOWN), Finding(Interval(1.0, 1.0), note="strictly input passive")

    class Given(Measure):
        larger_is_worse = False

        def unit(self, system):
            return ""

        def prove(self, system):
            return nothing if float(system.D) == 0 else proved

        def attack(self, system, found):
            return math.nan

    system = DiscreteDense(
        A=torch.zeros(2, 1, 1).double(),
        B=torch.ones(2, 1, 1).double(),
        C=torch.ones(2, 1, 1).double(),
        D=torch.tensor([1.0, 0.0]).double()[:, None, None],
    )
    found = Given().measure(system)
    assert not found.is_proved
    assert "strictly" not in found.note
    assert "unproved" in found.note


def test_details_do_not_replace_what_is_proved():
    found = Measured(Interval(1.0, 2.0), 1.5, "", True, details={"value": 99.0})
    assert found.to_dict()["value"] == 1.5


def test_nothing_proved_is_no_value():
    found = Measured(UNPROVED, 1.0, "", False)
    assert not found.is_proved
    assert math.isnan(found.value)


@pytest.mark.parametrize("text", ["band_gain(low=2000-99-99)", "decay(slack=1)", "decay(slack=0)"])
def test_options_without_a_meaning_are_refused(text):
    with pytest.raises(UsageError):
        chosen([text], "--measure")


def test_a_text_is_no_list_of_measures():
    with pytest.raises(UsageError, match="must be a list of measures"):
        chosen("h2", "measures")


def test_a_margin_whose_crossings_are_not_told_apart_is_unproved():
    """1 / (s + 1) has the gain 1 at frequency 0, which it does not cross."""
    one = torch.ones(1, 1, 1).double()
    system = ContinuousDense(A=-one, B=one, C=one, D=0 * one, dt=torch.ones(1).double())
    found = registry.measures.get("delay_margin").build().measure(system)
    assert not found.is_proved
    assert found.note


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_an_attack_above_what_is_proved_is_noticed_whatever_the_size(size):
    proved = Interval(size * 0.99, size)
    assert not Measured(proved, size * (1 + 1e-5), "", True).is_broken
    assert Measured(proved, size * 1.01, "", True).is_broken
    least = Measured(proved, size * 0.95, "", False)
    assert least.is_broken
    assert least.exceeds(size)


def test_a_difference_is_known_to_the_rounding_of_its_terms():
    nothing = Interval(0.0, 0.0)
    assert Measured(nothing, 1e-12, "", True).is_broken
    assert not Measured(nothing, 1e-12, "", True, scale=1.0).is_broken
    assert Measured(nothing, 1e-8, "", True, scale=1.0).is_broken
    assert all(Measured(nothing, 1e-8, "", True, scale=s).is_broken for s in (math.nan, math.inf))


def test_the_scale_of_a_measure_is_that_of_the_system():
    """A gain in a band, the supply of an input energy, and a rate follow their units."""

    def scales(size):
        A, B, C, D = ([[0.5]], [[1.0]], [[size]], [[-size]])
        asked = ["band_gain", "passivity", "decay"]
        found = sb.analyse((A, B, C, D, 1.0), measures=asked).measures.values()
        return np.array([one.scale for one in found])

    factors = scales(1e-9) / scales(1.0)
    assert factors == pytest.approx([1e-9, 1e-9, 1.0])


# --- what a config may ask for --------------------------------------------------------------------


def asking(*given, **model):
    return resolve({"analysis": {"measures": list(given)}, "model": model})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("Q=one", "Q: must be a number or a list of rows"),
        ("R=null, Q=[[1, 2]]", "Q: must be a number or a symmetric matrix"),
        ("R=[[1, 2], [3, 4]]", "R: must be a number or a symmetric matrix"),
        ("S=[1, 2]", "S: must be a number or a list of rows"),
        ("S=[[1], [2, 3]]", "S: must be a number or a list of rows"),
    ],
)
def test_matrices_that_are_none_are_refused_when_the_config_is_read(options, says):
    with pytest.raises(UsageError, match=says):
        asking(f"dissipativity({options})")


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        ("band_gain(low=0.1, high=4)", "high: at most pi radians per sample, got 4.0"),
        ("band_gain(low=3.2)", "low: at most pi radians per sample, got 3.2"),
        ("dissipativity(Q=[[1]], S=[[1, 0], [0, 1]])", "Q and S must be of as many outputs"),
        ("dissipativity(Q=[[-1, 0], [0, -1]])", "Q: must be a finite matrix of 1 x 1"),
    ],
)
def test_what_no_layer_of_the_network_has_is_refused_before_the_training(measure, says):
    config = asking("h2", measure, d_model=2, n_layers=1, parametrization="s4d", discretizer="zoh")
    with pytest.raises(UsageError, match=rf"(analysis\.measures\.1: )?.*{says}"):
        check_parts(typed(config))


def test_a_measure_is_written_alike_in_configs_and_elsewhere():
    text, mapping = "band_gain(low=0.1, high=1)", {"name": "band_gain", "low": 0.1, "high": 1}
    written = asking("h2", text)["analysis"]["measures"]
    assert written == asking("h2", mapping)["analysis"]["measures"]
    assert written == chosen(["h2", text], "--measure")
    assert [chosen([label(one)], "again") for one in written] == [[one] for one in written]


@pytest.mark.parametrize("second", ["decay", "decay(slack=0.1)", {"name": "decay"}])
def test_the_same_measure_twice_is_refused(second):
    with pytest.raises(UsageError, match=r"1: decay is there twice with the same options"):
        asking("decay", second)
    with pytest.raises(UsageError, match="decay is there twice"):
        chosen(["decay", second], "--measure")
    assert len(asking("decay", "decay(slack=0.2)")["analysis"]["measures"]) == 2
