"""What a config asks of the layers: measured, compared with what is declared, or a reason."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import ssmbench as sb
from ssmbench.config import resolve
from ssmbench.config.identity import fingerprint
from ssmbench.errors import UsageError
from ssmbench.measures.chosen import chosen, measured
from ssmbench.results import LayerGains
from ssmbench.testing.parametrizations import push
from ssmbench.training.layer_measures import layer_measures, measure_violations

SHORT = {"d_model": 2, "d_state": 4, "seed": 0}


def measures(layer, *names):
    return layer_measures(layer, chosen(names, "measures"))


def test_a_passive_layer_keeps_what_it_declares_also_near_the_unit_circle():
    layer = sb.layer("passive", index=0.2, **SHORT)
    for decay in (-2.0, -20.0):
        with torch.no_grad():
            layer.parametrization.poles.log_decay.fill_(decay)
        (found,) = measures(layer, "passivity")
        assert found.declared == 0.2
        assert found.lower >= 0.2
        assert found.attacked >= 0.2
        assert sb.analyse(layer).hinf_upper_bound <= 1


@pytest.mark.parametrize("off", [1.5, 2**0.5 / 2])
def test_a_declared_measure_that_does_not_hold_is_a_violation(off):
    (found,) = measures(sb.layer("passive", **SHORT), "passivity")
    lying = dataclasses.replace(found, declared=found.value * 2 * off)
    layer = LayerGains(None, 1.0, 1.0, 0.0, 0.5, 0.5, measures=(found,))
    assert list(measure_violations([layer])) == []
    said = list(measure_violations([dataclasses.replace(layer, measures=(lying,))]))
    assert said[0].startswith("layer 0: passivity: verified")
    assert "< declared" in said[0]
    broken = dataclasses.replace(found, attacked=found.lower - 0.1)
    said = list(measure_violations([dataclasses.replace(layer, measures=(broken,))]))
    assert [sentence.rpartition(" ")[0][-10:] for sentence in said][-1] == "< verified"


def test_sampling_scaling_and_another_readout_take_the_declaration_away():
    kept = sb.layer("passive", **SHORT)
    assert kept.declared_measures() == {"passivity": 0.05}
    assert sb.layer("passive", readout="after", **SHORT).declared_measures() == {}
    scaled = sb.layer("passive", normaliser={"name": "hinf", "gamma": 2.0}, **SHORT)
    assert scaled.declared_measures() == {}


def test_a_declared_measure_is_taken_whether_it_is_asked_for_or_not():
    layer = sb.layer("passive", **SHORT)
    (found,) = layer_measures(layer, None)
    assert (found.name, found.declared) == ("passivity", 0.05)
    assert [one.name for one in measures(layer, "passivity", "h2")] == ["passivity", "h2"]
    assert [one.name for one in measures(layer, "h2")] == ["h2", "passivity"]
    layer.parametrization.index = 2.0
    gains = LayerGains(None, 1.0, 1.0, 0.0, 0.5, 0.5, measures=layer_measures(layer, None))
    assert any("passivity: verified" in said for said in measure_violations([gains]))


def test_a_declared_measure_may_have_options():
    layer = sb.layer("passive", **SHORT)
    layer.parametrization.declared_measures = lambda: {"band_gain(low=1)": 1.0}
    (found,) = layer_measures(layer, None)
    assert (found.name, found.declared) == ("band_gain(low=1.0)", 1.0)


def test_a_layer_that_cannot_be_measured_says_why():
    varying = sb.layer("selective", discretizer="zoh", **SHORT)
    (found,) = measures(varying, "decay")
    assert found.value is None
    assert found.note.startswith("time-varying")
    lost = sb.layer("passive", **SHORT)
    with torch.no_grad():
        lost.parametrization.X0.fill_(torch.nan)
    assert [one.note for one in measures(lost, "h2")] == ["a parameter is not finite"] * 2


def test_runs_that_ask_for_nothing_keep_their_fingerprint():
    plain = fingerprint(resolve({}))
    assert fingerprint(resolve({"analysis": {"measures": []}})) == plain
    asked = [fingerprint(resolve({"analysis": {"measures": [m]}})) for m in ("h2", "decay")]
    assert len({plain, *asked}) == 3


def test_a_measure_of_a_config_is_checked_before_the_training():
    with pytest.raises(UsageError, match="band_gain"):
        resolve({"analysis": {"measures": ["band_gan"]}})


@pytest.mark.parametrize("index", [1.0, 1.5])
def test_an_index_that_is_not_below_gamma_is_refused(index):
    with pytest.raises(UsageError, match="passive: index must be below gamma"):
        sb.layer("passive", index=index, **SHORT)


@pytest.mark.parametrize("name", ["peak_to_peak", "decay", "band_gain(low=1)"])
def test_a_push_makes_every_measure_worse_with_an_estimate_or_without(name):
    module = sb.layer("contraction", **SHORT).parametrization

    def figure():
        (found,) = measured(module().detach(), chosen([name], "")).values()
        return found.bound

    before = figure()
    push(module, name, steps=8)
    assert figure() > before
