"""``import ssmbench``: layers, systems and entries by name, and one sentence for wrong input."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import torch

import ssmbench as sb
from ssmbench import library, registry

ONE = np.ones((1, 1))
STABLE = (-ONE, ONE, ONE, 0 * ONE)


def sentence(call) -> str:
    """The message of the UsageError that ``call`` raises: one line."""
    with pytest.raises(sb.UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the package --------------------------------------------------------------------------------

HEAVY = ("torch", "numpy", "lightning", "omegaconf", "scipy", "sklearn", "matplotlib")


def test_importing_the_package_and_asking_what_is_in_it_imports_nothing_heavy():
    code = f"""
import sys
import ssmbench as sb
assert sb.__version__ and "layer" in dir(sb)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    assert set(sb.__all__) <= set(dir(sb))
    for name in dir(sb):
        assert getattr(sb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'layr'"):
        _ = sb.layr


def test_a_star_import_leaves_pythons_list_alone():
    space: dict = {}
    exec("from ssmbench import *", space)
    assert "list" not in space
    assert {"layer", "analyse"} <= set(space)


def library_modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(library.__path__))


@pytest.mark.parametrize("name", library_modules())
def test_the_examples_in_the_docstrings_are_right(name, workplace):
    module = importlib.import_module(f"ssmbench.library.{name}")
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_every_public_function_has_an_example():
    functions = [getattr(sb, name) for name in ("list", *sb.__all__)]
    ours = [f for f in functions if f.__class__.__name__ == "function"]
    assert len(ours) >= 12
    assert [f.__name__ for f in ours if ">>>" not in f.__doc__] == []


# --- layers -------------------------------------------------------------------------------------


def test_a_layer_maps_a_signal():
    layer = sb.layer("s4d", discretizer="zoh", d_model=4, d_state=8, init="lin")
    assert layer.system().lam.shape == (4, 4)
    assert layer(torch.zeros(2, 5, 4)).shape == (2, 5, 4)


@pytest.mark.parametrize("name", sb.list("parametrizations"))
def test_every_parametrization_makes_a_layer(name):
    continuous = registry.parametrizations.get(name).factory.is_continuous()
    layer = sb.layer(name, d_model=4, discretizer="zoh" if continuous else None)
    assert layer(torch.zeros(2, 5, 4)).shape == (2, 5, 4)


def test_a_seed_gives_the_same_parameters_and_leaves_torch_alone():
    before = torch.get_rng_state()
    first, second = (sb.layer("s4d", discretizer="zoh", d_model=4, seed=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = sb.layer("s4d", discretizer="zoh", d_model=4)
    assert not torch.equal(before, torch.get_rng_state())
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def s4d(**changes):
    given = {"parametrization": "s4d", "discretizer": "zoh", "d_model": 4}
    return lambda: sb.layer(**given | changes)


BAD_LAYERS = {
    "name": (s4d(parametrization="s4dd"), "unknown parametrization 's4dd': did you mean 's4d'"),
    "no name": (s4d(parametrization=3), "must be a parametrization's name"),
    "option": (s4d(d_sate=8), "Key 'd_sate' not in 'S4DConfig'. Did you mean one of: 'd_state'"),
    "second name": (s4d(name="s5"), "name: is given already, as 's4d'"),
    "value": (s4d(d_state="many"), "'many' of type 'str' could not be converted"),
    "width": (s4d(d_model=0), "d_model: must be positive, got 0"),
    "discretizer": (s4d(discretizer="zho"), "unknown discretizer 'zho': did you mean 'zoh'"),
    "no discretizer": (s4d(discretizer=None), "needs a discretizer"),
    "its option": (s4d(discretizer={"name": "gbt", "alfa": 1}), "Did you mean: 'alpha'"),
    "normaliser": (s4d(normaliser="hnif"), "unknown normaliser 'hnif': did you mean 'hinf'"),
    "scan": (s4d(scan=None), "model.scan: needs a scan"),
    "state": (s4d(initial_state="one"), "initial_state: 'one' is not a choice"),
    "seed": (s4d(seed=-1), "seed: must be from 0 to 2^32 - 1, got -1"),
    "pairing": (s4d(parametrization="l2ru"), "takes no discretizer"),
}


@pytest.mark.parametrize("what", BAD_LAYERS)
def test_a_layer_that_cannot_be_is_one_sentence(what):
    call, message = BAD_LAYERS[what]
    assert message in sentence(call)


# --- networks -----------------------------------------------------------------------------------


def test_a_network_from_a_name_a_mapping_and_overrides_of_every_form(tiny):
    forms = {"model.d_model": np.int64(8)}, {"model": {"d_model": 8}}, ["model.d_model=8"]
    counts = {sb.network(tiny, over).parameter_count() for over in forms}
    assert len(counts) == 1
    assert counts != {sb.network(tiny).parameter_count()}
    assert sb.network("digits_s4d", {"model.n_layers": 1}).parameter_count() > 0


BAD_CONFIGS = {
    "name": (lambda: sb.network("digits_s4"), "did you mean 'digits_s4d'"),
    "kind": (lambda: sb.network(3), "must be a path, a bundled config's name or a mapping, got 3"),
    "value": (lambda: sb.network({"seed": object()}), "is not a string, number, list or mapping"),
    "key": (lambda: sb.network({"modle": {}}), "config: modle"),
    "overrides": (lambda: sb.network({}, 3), "overrides: must be a mapping or a list"),
    "override": (lambda: sb.network({}, ["seed"]), "'seed': must be key=value"),
    "override's key": (lambda: sb.network({}, {3: 3}), "the key must be a string"),
}


@pytest.mark.parametrize("what", BAD_CONFIGS)
def test_a_config_that_cannot_be_used_is_one_sentence(what):
    call, message = BAD_CONFIGS[what]
    assert message in sentence(call)


# --- systems ------------------------------------------------------------------------------------


def test_a_report_has_poles_and_reads_well():
    report = sb.analyse((*STABLE, 0))
    assert report.poles.tolist() == [[-1]]
    assert report.hinf == pytest.approx(1)
    assert str(report).startswith("GainReport of a continuous-time system: stable\n")
    assert "spectral abscissa  -1" in str(report)
    assert "system" not in report.to_dict()


def test_a_system_may_be_given_in_many_ways(tmp_path):
    np.savez(tmp_path / "x.npz", **dict(zip("ABCD", STABLE, strict=True)))
    layer = sb.layer("s4d", discretizer="zoh", d_model=4, seed=0)
    ways = [
        STABLE,
        [torch.from_numpy(x) for x in STABLE],
        (-ONE, [1.0], [1.0], 0.0),
        dict(zip("ABCD", STABLE, strict=True)),
        scipy.signal.StateSpace(*STABLE),
        tmp_path / "x.npz",
        str(tmp_path / "x.npz"),
        sb.system(*STABLE),
    ]
    assert {sb.analyse(way).hinf for way in ways} == {sb.analyse(STABLE).hinf}
    assert sb.analyse(layer).hinf == sb.analyse(layer.system()).hinf
    discrete = scipy.signal.StateSpace(0.5 * ONE, ONE, ONE, 0 * ONE, dt=0.1)
    assert sb.analyse(discrete).hinf == pytest.approx(2)


def test_discretize_is_the_method_and_warns_of_what_it_destabilises():
    found = sb.discretize(STABLE, "gbt", 0.5, alpha=0.75)
    A, B, C, D, _ = scipy.signal.cont2discrete(STABLE, 0.5, "gbt", alpha=0.75)
    a, b, c, d = (x.item() for x in (found.A, found.B, found.C, found.D))
    for z in (1.0, 1j):  # the transfer function: states may be in other coordinates
        theirs = C @ np.linalg.solve(z * np.eye(1) - A, B) + D
        assert d + c * b / (z - a) == pytest.approx(theirs.item())
    with pytest.warns(UserWarning, match=r"forward_euler: step size 3 .* largest stable step 2"):
        sb.discretize(STABLE, "forward_euler", 3)


def test_a_layer_is_discretized_anew_from_its_continuous_system():
    layer = sb.layer("s4d", discretizer="zoh", d_model=4, seed=0)
    again = sb.discretize(layer, "zoh")
    torch.testing.assert_close(again.lam, layer.system().lam, rtol=0, atol=0)


BAD_SYSTEMS = {
    "number": (lambda: sb.analyse(3), "analyse: takes a system, a layer, arrays"),
    "three matrices": (lambda: sb.analyse(STABLE[:3]), "got tuple of 3"),
    "no file": (lambda: sb.analyse("no.npz"), "no.npz: no such file"),
    "text": (lambda: sb.analyse((["a"], 1, 1, 1)), "A has dtype"),
    "ragged": (lambda: sb.system([[1, 2], [1]], 1, 1, 1), "A is not an array"),
    "NaN": (lambda: sb.system(np.nan * ONE, ONE, ONE, ONE), "A holds 1 NaN"),
    "shape": (lambda: sb.system(ONE, np.ones((2, 1)), ONE, ONE), "B has shape (2, 1), but with"),
    "key": (lambda: sb.analyse({"A": ONE, "E": ONE}), "unknown key 'E'"),
    "missing": (lambda: sb.analyse({"A": ONE}), "missing B, C, D"),
    "step": (lambda: sb.system(*STABLE, dt=-1), "dt is -1.0"),
    "horizon": (lambda: sb.analyse(STABLE, horizon=0), "horizon: must be a whole number of at le"),
    "horizon's time": (lambda: sb.analyse(STABLE, horizon=4), "this system is continuous"),
    "time-varying": (lambda: sb.analyse(s4d(parametrization="selective")()), "without an input"),
    "method": (lambda: sb.discretize(STABLE, "tustn", 1), "did you mean 'tustin'"),
    "option": (lambda: sb.discretize(STABLE, "zoh", 1, alpha=2), "discretize (zoh): alpha"),
    "discrete": (lambda: sb.discretize((*STABLE, 1), "zoh", 1), "the system is discrete already"),
    "step size": (lambda: sb.discretize(STABLE, "zoh", 0), "dt must be positive and finite, got 0"),
    "oscillators": (lambda: sb.discretize(STABLE, "symplectic_euler", 1), "samples oscillators"),
}


@pytest.mark.parametrize("what", BAD_SYSTEMS)
def test_a_system_that_cannot_be_is_one_sentence(what):
    call, message = BAD_SYSTEMS[what]
    assert message in sentence(call)


# --- entries ------------------------------------------------------------------------------------


def test_names_of_every_kind():
    for kind in registry.KINDS:
        assert sb.list(kind) == registry.KINDS[kind].names()
    assert sb.list("parametrizations", "s4*") == ["s4", "s4d"]
    assert "unknown kind 'tassks'" in sentence(lambda: sb.list("tassks"))
    assert "did you mean 'digits'" in sentence(lambda: sb.show("task", "digit"))


def test_register_is_every_kinds_decorator(workplace):
    assert dir(sb.register) == sorted(registry.KINDS)

    @sb.register.discretizer("mine", summary="My own.")
    class Mine(registry.discretizers.get("zoh").factory):
        pass

    assert sb.show("discretizer", "mine")["summary"] == "My own."
    assert __file__ in sb.show("discretizer", "mine")["origin"]
    assert "did you mean 'discretizer'" in sentence(lambda: sb.register.discretiser)
    assert not hasattr(sb.register, "nonsense")


def test_a_layer_and_its_report_need_no_lightning(tmp_path):
    code = """
import sys
import ssmbench as sb
sb.analyse(sb.layer("s4d", discretizer="zoh", d_model=2, d_state=4))
print([name for name in ("lightning", "sklearn", "matplotlib") if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
