"""Bounds of exported arrays: of single operations, of means, and of matrices in fewer bits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmbench import registry
from ssmbench.analysis import program_bound as bounds
from ssmbench.analysis.certificate import GainClaim
from ssmbench.analysis.gain import analyse
from ssmbench.analysis.program_bound import HARDY, program_bound, systems_of
from ssmbench.nn.program import program_of
from ssmbench.program import FUNCTIONS, Builder, stored_as
from ssmbench.program.reference import Network
from ssmbench.runs.exported_gains import exported_gains
from tests.exporters.variants import STEPS, VARIANTS, exported, inputs, network_of

CLAIMS = (GainClaim.incremental, GainClaim.zero_state)


def layer_gains(program):
    return [analyse(system).hinf_upper_bound for system in systems_of(program)]


def run(program, u):
    return Network(program.description(), program.arrays(), np.float64).sequence(u)[0]


def unbounded(bound, claim, program, u):
    """Whether a bound is infinite for a reason that is true of the program."""
    if "zero to zero" in bound.reason or "not zero" in bound.reason:
        return claim is GainClaim.zero_state and bool(run(program, 0 * u).any())
    kinds = {op.kind: op.options for op in program.operations}
    why = {
        "LayerNorm": "standardise",
        "two signals": "multiply",
        "time-varying": "varying",
        "has no gain": "unit",
        "unstable, or": "diagonal",
    }
    return any(part in bound.reason and kind in kinds for part, kind in why.items())


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("name", [n for n in VARIANTS if "tokens" not in n])  # which have no norm
def test_no_disturbance_exceeds_the_bound(name, weights):
    """Random disturbances of random inputs, and inputs from the zero state."""
    frozen, program = exported(name)
    program = stored_as(program, weights)
    gains = layer_gains(program)
    u = inputs(frozen, program, 12, batch=64).double().numpy()
    sizes = 10.0 ** np.linspace(-3, 1, 32)[:, None, None]
    base, change = u[:32], sizes * u[32:]
    y, moved, quiet = (run(program, x) for x in (base, base + change, change))
    for claim, found in zip(CLAIMS, (moved - y, quiet), strict=True):
        bound = program_bound(program, gains, claim, 12)
        ratio = np.linalg.norm(found.reshape(32, -1), axis=1) / np.linalg.norm(
            change.reshape(32, -1), axis=1
        )
        assert ratio.max() <= bound.value
        assert bound.finite or unbounded(bound, claim, program, u)


# --- means --------------------------------------------------------------------------------------


AFTER = {
    "each step": lambda to, x: to.affine(x, np.eye(1)),
    "diagonal": lambda to, x: to.add_operation(
        "diagonal",
        (x,),
        1,
        {"lam_re": [[0.9]], "B_re": [[[1.0]]], "C_re": [[[1.0]]], "D": [[[0.0]]]},
        np.zeros(1),
    ),
    "convolution": lambda to, x: to.convolution(x, np.ones((1, 2))),
    "mean": lambda to, x: to.mean(x, "mean"),
}


@pytest.mark.parametrize("name", AFTER)
@pytest.mark.parametrize("per_step", [True, False])
def test_a_mean_that_is_read_at_every_step_has_the_gain_of_a_signal(name, per_step):
    """A unit impulse, which the mean answers with 1, 1/2, 1/3, ...; steps of t^-0.55 come close to
    Hardy's constant."""
    to = Builder(1)
    program = to.program(AFTER[name](to, to.mean(0, "mean")), per_step)
    u = np.stack([np.eye(1, 2000)[0], np.arange(1.0, 2001) ** -0.55])[..., None]
    ratios = np.linalg.norm(run(program, u).reshape(2, -1), axis=1)
    ratios /= np.linalg.norm(u[..., 0], axis=1)
    for claim in CLAIMS:
        bound = program_bound(program, layer_gains(program), claim, 2000)
        assert ratios.max() <= bound.value
    if name == "each step" and per_step:
        assert bound.value == HARDY
        assert ratios[1] > 1.5


def test_the_last_mean_alone_is_smaller_for_longer_sequences():
    to = Builder(1)
    program = to.program(to.pointwise(to.mean(0, "mean"), "tanh"), False)
    assert program_bound(program, [], GainClaim.incremental, 100).value == 0.1
    to = Builder(1)
    unit = to.program(to.mean(0, "unit"), False)
    assert program_bound(unit, [], GainClaim.incremental, 100).value == 1


def test_a_sum_by_the_root_of_the_steps_has_no_bound_at_every_step():
    """The squares of its answer to a unit impulse are 1, 1/2, 1/3, ..."""
    to = Builder(1)
    program = to.program(to.mean(0, "unit"), True)
    assert "read at every step" in program_bound(program, [], GainClaim.incremental, 100).reason
    energy = [np.sum(run(program, np.eye(1, n)[..., None]) ** 2) for n in (100, 10_000)]
    assert energy == pytest.approx([sum(1 / k for k in range(1, n + 1)) for n in (100, 10_000)])


# --- single operations --------------------------------------------------------------------------


def test_disjoint_slices_have_the_largest_gain_and_others_do_not():
    to = Builder(4)
    half = to.slice(0, 0, 2), to.slice(0, 2, 4)
    twice = to.scale(half[1], [2.0, 2.0])
    apart = to.program(to.concat(half[0], twice), True)
    assert program_bound(apart, [], GainClaim.incremental).value == 2
    to = Builder(4)
    overlap = to.slice(0, 0, 3), to.slice(0, 2, 4)
    both = to.program(to.concat(*overlap), True)
    assert program_bound(both, [], GainClaim.incremental).value == pytest.approx(np.sqrt(2))
    to = Builder(4)
    sorted_ = to.sort_pairs(to.slice(0, 0, 4))  # each number depends on two
    again = to.program(to.concat(to.slice(sorted_, 0, 2), to.slice(sorted_, 0, 2)), True)
    assert program_bound(again, [], GainClaim.incremental).value == pytest.approx(np.sqrt(2))


def test_an_offset_leaves_no_zero_state_bound():
    to = Builder(2)
    program = to.program(to.affine(0, np.eye(2), [0.0, 1.0]), True)
    assert program_bound(program, [], GainClaim.incremental).value == 1
    assert "may not map zero to zero" in program_bound(program, [], GainClaim.zero_state).reason


def test_a_product_has_a_bound_only_by_factors_that_are_bounded():
    to = Builder(2)
    product = to.program(to.multiply(0, to.affine(0, np.eye(2))), True)
    assert not program_bound(product, [], GainClaim.zero_state).finite
    to = Builder(2)
    gated = to.program(to.multiply(0, to.pointwise(0, "tanh")), True)
    assert program_bound(gated, [], GainClaim.zero_state).value == 1
    assert "two signals" in program_bound(gated, [], GainClaim.incremental).reason


def test_a_constant_that_is_too_small_is_noticed(monkeypatch):
    """GELU's slope reaches 1.1289: a bound that takes it as 1 is exceeded near sqrt(2)."""
    to = Builder(1)
    program = to.program(to.pointwise(0, "gelu"), True)
    network = Network(program.description(), program.arrays(), np.float64)
    points = np.array([[[2**0.5 - 0.01]], [[2**0.5 + 0.01]]])
    y, _ = network.sequence(points)
    slope = float((y[1] - y[0]).item() / 0.02)
    assert 1.128 < slope <= program_bound(program, [], GainClaim.incremental).value
    monkeypatch.setitem(bounds.FUNCTIONS, "gelu", FUNCTIONS["gelu"]._replace(lipschitz=1.0))
    assert slope > program_bound(program, [], GainClaim.incremental).value


def test_constants_of_functions_are_those_that_the_nonlinearities_declare():
    for entry in registry.nonlinearities:
        if entry.name in FUNCTIONS:
            function = FUNCTIONS[entry.name]
            assert entry.factory.lipschitz == function.lipschitz
            assert entry.factory.maps_zero_to_zero == function.keeps_zero


def test_a_bound_above_the_declared_gain_is_named_with_the_reason():
    """The nonlinearity sll declares 1 for several matrices together; group sort needs no such
    certificate."""
    model = {"parametrization": "l2ru", "discretizer": None, "gamma": 1.0, "d_model": 4}
    for nonlinearity, why in (("sll", "not proved again"), ("groupsort", "")):
        given = {"task": STEPS, "model": {**model, "nonlinearity": nonlinearity, "n_layers": 1}}
        frozen, sizes = network_of(given)
        found = exported_gains(frozen, program_of(frozen, sizes), 16, "float32")["network"]
        about = {figures["claim"]: figures for figures in found}["incremental"]
        assert about["declared"] == 1.0
        assert (about["bound"] > 1.0 + 1e-4) == bool(why)
        assert why in about["above_declared"]


# --- the numbers that are stored ----------------------------------------------------------------


def test_normalisation_divides_by_the_number_that_the_bound_is_of():
    """eps is one float32 number in every format."""
    to = Builder(1)
    program = to.program(to.root_mean_square(0, 0.1), True)
    assert program.operations[0].options["eps"] == float(np.float32(0.1)) != 0.1
    assert program_bound(program, [], GainClaim.incremental).value == 1 / math.sqrt(np.float32(0.1))


def test_codes_times_scales_are_exact():
    """So that scales may be applied after a sum of codes, as in C."""
    random, to = np.random.default_rng(0), Builder(40)
    program = to.program(to.affine(0, random.standard_normal((40, 40))), True)
    stored = stored_as(program, "int8").operations[0].arrays["weight"]
    assert np.array_equal(stored.codes.astype(np.float64) * stored.scale, stored.value)
    assert np.abs(stored.codes).max() == 127
    whole = program.operations[0].arrays["weight"].value
    assert np.all(np.abs(stored.value - whole) <= 0.50001 * stored.scale)


def test_rows_that_are_zero_or_next_to_it_stay_so():
    to = Builder(8)
    weight = np.zeros((2, 8)) + [[0.0], [1e-42]]
    stored = stored_as(to.program(to.affine(0, weight), True), "int8").operations[0].arrays
    assert not stored["weight"].value.any()
