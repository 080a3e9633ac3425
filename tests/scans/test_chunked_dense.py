"""Dense systems in chunks of chunks, and Toeplitz blocks for few channels: exact and no loops."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.bench.counting import OperationCount
from ssmbench.linalg.precision import to_double
from ssmbench.parametrizations.hippo import Measure, matrices
from ssmbench.scans import chunked_dense, dense_states
from ssmbench.scans.chunked_dense import dense_scan, dense_toeplitz_scan
from ssmbench.scans.reference import ReferenceScan
from ssmbench.systems import DiscreteDense
from tests.scans import by_definition

DTYPES = (torch.float64, torch.complex128)
FORMS = {"states": dense_scan, "toeplitz": dense_toeplitz_scan}
every_form = pytest.mark.parametrize("scan", FORMS.values(), ids=FORMS)


def definition(A, drive, start, reverse=False):
    """x[0..L] (G, L + 1, R, N), step by step."""
    if reverse:
        return definition(A, drive.flip(1), start).flip(1)
    return by_definition.states(lambda _, x: x @ A.mT, drive, start)


@given(
    steps=st.integers(0, 150),
    groups=st.integers(1, 2),
    signals=st.integers(1, 2),
    one=st.booleans(),
    reverse=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=30, deadline=None)
def test_states_are_those_of_the_recurrence(steps, groups, signals, one, reverse, dtype):
    torch.manual_seed(steps)
    A = torch.randn(1 if one else groups, 3, 3, dtype=dtype) / 3
    drive = torch.randn(groups, steps, signals, 3, dtype=dtype)
    start = torch.randn(groups, signals, 3, dtype=dtype)
    found = dense_states.dense_states(A, drive, start, reverse=reverse)
    torch.testing.assert_close(found, definition(A, drive, start, reverse), rtol=1e-11, atol=1e-11)


def outcome(scan, system, u, x0):
    """Output, final state and the gradients of everything, for random gradients of both."""
    leaves = {**system.tensors(), "u": u, "x0": x0}
    leaves = {name: value.detach().clone().requires_grad_() for name, value in leaves.items()}
    matrices = {name: leaves[name] for name in ("A", "B", "C", "D")}
    y, final = scan(DiscreteDense(**matrices), leaves["u"], leaves["x0"])
    random = torch.Generator().manual_seed(1)
    weights = [torch.randn(v.shape, generator=random, dtype=torch.float64) for v in (y, final)]
    total = sum((v * w.to(v.dtype)).sum().real for v, w in zip((y, final), weights, strict=True))
    return y, final, *torch.autograd.grad(total, list(leaves.values()))


def random_system(heads, states, channels, dtype=torch.float64):
    """A scaled orthogonal: slow modes."""
    A = torch.linalg.qr(torch.randn(heads, states, states, dtype=dtype)).Q * 0.99
    B, C = torch.randn(2, heads, states, channels, dtype=dtype) / states**0.5
    D = torch.randn(heads, channels, channels, dtype=dtype)
    return DiscreteDense(A=A, B=B, C=C.mT, D=D)


def inputs(system, batch, length):
    u = torch.randn(batch, length, system.heads, system.inputs, dtype=system.A.real.dtype)
    return u, torch.randn(batch, system.heads, system.states, dtype=system.A.dtype)


def relative_errors(found, wanted):
    pairs = zip(found, wanted, strict=True)
    return [((f - w).abs().max() / w.abs().max()).item() for f, w in pairs]


@every_form
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "channels", "length"), [(2, 1, 1), (3, 2, 150), (1, 1, 257)])
def test_outputs_and_every_gradient(scan, dtype, heads, channels, length):
    torch.manual_seed(0)
    system = random_system(heads, 4, channels, dtype)
    given_ = inputs(system, 2, length)
    wanted = outcome(ReferenceScan(registry.NoOptions()), system, *given_)
    for found, expected in zip(outcome(scan, system, *given_), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_form
def test_either_of_A_and_B_may_be_complex_alone(scan):
    torch.manual_seed(0)
    system, wide = random_system(2, 3, 1), random_system(2, 3, 1, torch.complex128)
    u = torch.randn(2, 70, 2, 1, dtype=torch.float64)
    for name in ("A", "B"):
        mixed = DiscreteDense(**{**system.tensors(), "C": wide.C, name: getattr(wide, name)})
        found, expected = scan(mixed, u, None), ReferenceScan(registry.NoOptions())(mixed, u)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def legs(states=32):
    """HiPPO-LegS by the bilinear rule: far from normal, so that powers of A grow before they
    fall."""
    A, B = (torch.from_numpy(m).double() for m in matrices(Measure.legs, states))
    eye = torch.eye(states, dtype=torch.float64)
    A, B = (torch.linalg.solve(eye - 0.005 * A, x) for x in (eye + 0.005 * A, 0.01 * B[:, None]))
    C, D = torch.randn(1, 1, states).double(), torch.randn(1, 1, 1).double()
    return DiscreteDense(A=A[None], B=B[None], C=C, D=D).map(lambda t: t.float())


@every_form
@pytest.mark.parametrize("make", [legs, lambda: random_system(2, 32, 1, torch.float32)])
def test_single_precision_is_as_accurate_as_a_float32_loop(scan, make):
    """Summed over five draws: which of two maxima of a few roundings is larger in one is chance,
    and differs between processors."""
    draws = [errors_beside_a_loop(scan, make, seed) for seed in range(5)]
    found, loop = (torch.tensor(errors).sum(0) for errors in zip(*draws, strict=True))
    floor = len(draws) * 4 * 2.0**-24
    assert (found <= 3 * loop.clamp_min(floor)).all()


def errors_beside_a_loop(scan, make, seed):
    """Of outputs and every gradient in float32: by ``scan``, and by a loop over steps."""
    torch.manual_seed(seed)
    system = make()
    u, x0 = inputs(system, 2, 700)
    reference = ReferenceScan(registry.NoOptions())
    exact = outcome(reference, system.map(to_double), u.double(), x0.double())
    loop = relative_errors(outcome(reference, system, u, x0), exact)
    return relative_errors(outcome(scan, system, u, x0), exact), loop


@every_form
def test_a_wrong_power_of_the_matrix_is_noticed(scan, monkeypatch):
    """The comparisons above would see A^(T / 2) where A^T belongs."""
    torch.manual_seed(0)
    system = random_system(2, 4, 1)
    given_ = inputs(system, 2, 1100)
    wanted = outcome(ReferenceScan(registry.NoOptions()), system, *given_)
    assert max(relative_errors(outcome(scan, system, *given_), wanted)) < 1e-9
    monkeypatch.setattr(dense_states, "_SQUARINGS", dense_states._SQUARINGS - 1)
    assert min(relative_errors(outcome(scan, system, *given_), wanted)[:3]) > 1e-2


def test_levels_whose_powers_overflow_are_not_entered():
    A = torch.diag(torch.tensor([30.0, 0.5]))[None]
    assert len(dense_states.chunk_powers(A, 2**15, torch.float32)) == 3  # 30^64 fits, 30^512 not
    assert len(dense_states.chunk_powers(A / 30, 2**15, torch.float32)) == 5
    assert len(dense_states.chunk_powers(A * torch.nan, 2**15, torch.float32)) == 1


def counted(scan, system, u):
    leaves = [*system.tensors().values(), u]
    with OperationCount() as forward:
        y, _ = scan(system, u, None)
    with OperationCount() as backward:
        torch.autograd.grad(y.sum(), leaves)
    return forward, backward


def leaves_of(system, batch, length):
    system = system.map(lambda t: t.float().requires_grad_())
    return system, inputs(system, batch, length)[0].requires_grad_()


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_grow_with_the_logarithm_of_the_length(channels):
    """28 launches a level of eight times the length; a loop over chunks takes 8 times more."""
    scan = registry.scans.get("chunked").build()
    system = random_system(1, 3, channels)
    counts = [counted(scan, *leaves_of(system, 1, length)) for length in (512, 4096, 32768)]
    for part in zip(*counts, strict=True):
        for shorter, longer in pairwise(part):
            assert longer.launches - shorter.launches <= 30
            assert longer.operations - shorter.operations <= 90
    assert sum(count.launches for count in counts[1]) < 330


def test_a_bank_writes_no_state_of_every_step():
    batch, length, heads, states = 2, 512, 3, 16
    system, u = leaves_of(random_system(heads, states, 1), batch, length)
    for name in ("cpu", "chunked"):
        counts = counted(registry.scans.get(name).build(), system, u)
        assert max(count.largest for count in counts) < batch * length * heads * states / 2
    loop = counted(dense_scan, system, u)
    assert loop[0].largest >= batch * length * heads * states


def test_few_steps_do_not_repay_the_tables():
    system = random_system(2, 8, 1)
    least = chunked_dense._STEPS_A_STATE * system.states
    assert chunked_dense.worth_toeplitz(system, torch.zeros(2, least // 4, 2, 1))
    assert not chunked_dense.worth_toeplitz(system, torch.zeros(2, least // 4 - 1, 2, 1))
    assert chunked_dense.worth_toeplitz(system, torch.zeros(5, least // 8, 2, 1))
    wide = random_system(2, 8, 3)
    assert not chunked_dense.worth_toeplitz(wide, torch.zeros(2, least, 2, 3))


def test_a_response_that_overflows_is_not_multiplied_by_zero():
    """Of a table that is finite in double precision and not in single."""
    large = torch.full((1, 1, 2), 1.8e19)
    system = DiscreteDense(A=torch.eye(2)[None] / 2, B=large.mT, C=large, D=torch.zeros(1, 1, 1))
    y, final = dense_toeplitz_scan(system, torch.zeros(1, 70, 1, 1), None)
    assert not y.any()
    assert not final.any()
    u = 0.01 * torch.eye(1, 70)[..., None, None]
    expected, _ = ReferenceScan(registry.NoOptions())(system, u)
    torch.testing.assert_close(dense_toeplitz_scan(system, u, None)[0], expected)
