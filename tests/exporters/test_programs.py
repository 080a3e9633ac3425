"""A network in plain operations: it computes what the network does, and its bound is the
network's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.certificate import GainClaim
from ssmbench.analysis.gain import analyse
from ssmbench.analysis.program_bound import program_bound, systems_of
from ssmbench.errors import UsageError
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.nonlinearities.pointwise import GELU
from ssmbench.nn.program import program_of
from ssmbench.program import Builder, stored_as
from ssmbench.program.reference import Network
from ssmbench.runs.export_check import check_network
from tests.exporters.variants import (
    STEPS,
    TOKENS,
    VARIANTS,
    exported,
    inputs,
    network_of,
    samples,
)


@pytest.mark.parametrize("name", VARIANTS)
def test_program_computes_what_the_network_streams(name):
    frozen, program = exported(name)
    u = inputs(frozen, program, 20, batch=2)
    with torch.no_grad():
        wanted, _ = frozen.stream(samples(frozen, u))
    network = Network(program.description(), program.arrays(), np.float64)
    found, _ = network.sequence(u.numpy())
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5 * float(wanted.abs().max()))
    if name in ("certified", "frames", "tokens"):  # predictions per step, of frames, of tokens
        check_network(frozen, program)


def test_a_program_that_differs_from_the_network_is_refused():
    frozen, program = exported("contraction")

    def wrong(operation, name, stored):
        moved = operation.kind == "diagonal" and name == "D"
        return dataclasses.replace(stored, codes=1.001 * stored.codes) if moved else stored

    with pytest.raises(UsageError, match=r"differ from the network's stream by .* is allowed"):
        check_network(frozen, program.with_arrays(wrong))


# --- bounds -------------------------------------------------------------------------------------

#: Without those that have no bound: gates, and oscillators that are not damped.
UNBOUNDED = ("glu and norms", "half glu", "branch glu", "oscillators", "selected by the input")
BOUNDED = [name for name in VARIANTS if name not in UNBOUNDED]


def layer_gains(program):
    return [analyse(system).hinf_upper_bound for system in systems_of(program)]


#: Of nonlinearities of several matrices, how much larger the bound may be than what they declare.
PROVED_LESS = {"sll": 8.0, "sandwich": 5.0, "cayley": 5.0}


@pytest.mark.parametrize("name", BOUNDED)
def test_bound_of_the_exported_arrays_is_that_of_the_network(name):
    """The network composes the bounds of its parts, the program those of its operations."""
    frozen, program = exported(name)
    gains, steps = layer_gains(program), frozen.framing.count(16)
    gated = name in ("certified with a gate", "selective")
    claim = GainClaim.zero_state if gated else GainClaim.incremental
    figure = frozen.zero_state_bound if gated else frozen.bound
    known = [layer.declared_gain() for layer in frozen.layers] if name == "selective" else gains
    wanted, found = figure(known, 16), program_bound(program, gains, claim, steps)
    assert wanted.finite
    if name in ("sll", "sandwich", "cayley"):  # declared 1; the operations one by one prove less
        assert wanted.value * (1 - 1e-6) <= found.value <= PROVED_LESS[name] * wanted.value
    elif name == "branch tanh_glu":  # the scale is the largest of both factors' together
        assert found.value == pytest.approx(wanted.value, rel=0.3)
    elif name == "saturated_glu":
        assert found.value <= wanted.value * (1 + 1e-6)
    else:
        assert found.value == pytest.approx(wanted.value, rel=1e-6)


def test_weights_in_fewer_bits_have_gains_of_their_own():
    _, program = exported("l2ru")
    exact = layer_gains(program)
    for weights, largest in (("float16", 1e-2), ("int8", 0.3)):
        found = layer_gains(stored_as(program, weights))
        assert found != exact
        assert found == pytest.approx(exact, rel=largest)


# --- what has no form ---------------------------------------------------------------------------

REFUSED = {
    "time-varying": (STEPS, {"parametrization": "selective"}, "Selective is time-varying"),
    "bidirectional": (STEPS, {"bidirectional": True}, "no step function"),
    "mamba": (STEPS, {"block": "mamba"}, "block mamba has no form .* allowed: certified, residual"),
    "positions": (TOKENS, {"encoder": "embedding_positions"}, "encoder embedding_positions has no"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(name):
    task, model, message = REFUSED[name]
    frozen, sizes = network_of({"task": task, "model": {"d_model": 4, "n_layers": 1, **model}})
    with pytest.raises(UsageError, match=message) as raised:
        program_of(frozen, sizes)
    assert "\n" not in str(raised.value)


def test_a_part_that_redefines_its_map_inherits_no_form():
    class Shifted(GELU):
        def forward(self, x):
            return super().forward(x) + 1

    with pytest.raises(UsageError, match="nonlinearity Shifted has no form"):
        Shifted(None, d_model=2).lower(Builder(2), 0)
    assert Block.lower is registry.blocks.get("mamba").factory.lower


def test_weights_that_no_half_float_holds_are_refused():
    to = Builder(1)
    program = to.program(to.affine(0, [[1e6]]), True)
    with pytest.raises(UsageError, match="too large"):
        stored_as(program, "float16")
    with pytest.raises(UsageError, match="did you mean 'float16'"):
        stored_as(program, "float61")
