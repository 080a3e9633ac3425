"""The scans for CPUs: exact gradients, any length, unstable systems as the reference has them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench import registry
from ssmbench.scans.chunked import linear_scan
from ssmbench.systems import DiscreteDense, DiscreteDiagonal
from ssmbench.testing import example_systems
from tests.scans import by_definition

BACKENDS = {name: registry.scans.get(name).build() for name in ("cpu", "chunked")}
every_backend = pytest.mark.parametrize("scan", BACKENDS.values(), ids=BACKENDS)
REFERENCE = registry.scans.get("reference").build()


@every_backend
@given(
    index=st.integers(0, 9),
    batch=st.integers(0, 3),
    length=st.integers(1, 200),
    start=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_double_precision_agrees_to_rounding(scan, index, batch, length, start):
    torch.manual_seed(index + 8 * length)
    system = example_systems()[index].double()
    u = torch.randn(batch, length, system.heads, system.inputs, dtype=torch.float64)
    x0 = torch.randn(batch, system.heads, system.states, dtype=system.dynamics.dtype)
    found, expected = (run(system, u, x0 if start else None) for run in (scan, REFERENCE))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@every_backend
@pytest.mark.parametrize("index", range(10))
def test_gradcheck(scan, index):
    torch.manual_seed(index)
    system = example_systems()[index].double().map(lambda t: t.requires_grad_())
    u = torch.randn(1, 5, system.heads, system.inputs, dtype=torch.float64, requires_grad=True)
    x0 = torch.randn(1, system.heads, system.states, dtype=system.dynamics.dtype)
    names = list(system.tensors())

    def outputs(u, x0, *tensors):
        changed = type(system)(
            **dict(zip(names, tensors, strict=True)),
            **({"conjugate": system.conjugate} if isinstance(system, DiscreteDiagonal) else {}),
        )
        return scan(changed, u, x0)

    inputs = (u, x0.requires_grad_(), *system.tensors().values())
    assert torch.autograd.gradcheck(outputs, inputs)


@every_backend
@pytest.mark.parametrize("modulus", [1.02, 5.0, 30.0])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_unstable_systems_are_finite_where_the_recurrence_is(scan, modulus, dense, channels):
    """No 0 * inf: an impulse late in the sequence must not meet an overflowing power of A."""
    lam = torch.full((1, 2), modulus)
    B, C = torch.ones(1, 2, channels), torch.ones(1, channels, 2)
    D = torch.zeros(1, channels, channels)
    diagonal = DiscreteDiagonal(lam=lam, B=B, C=C, D=D)
    system = diagonal.to_dense() if dense else diagonal
    u = torch.zeros(1, 300, 1, channels)
    u[0, 290] = 1.0
    y, final = scan(system, u, None)
    expected, expected_final = REFERENCE(system, u, None)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(final, expected_final, rtol=1e-4, atol=0)


@every_backend
def test_float32_error_over_a_long_sequence_is_small(scan):
    torch.manual_seed(0)
    lam = torch.polar(torch.tensor([[0.99999, 0.999]]), torch.tensor([[0.01, 1.0]]))
    one = torch.ones(1, 2, 1, dtype=torch.complex64)
    system = DiscreteDiagonal(
        lam=lam, B=one, C=one.transpose(1, 2), D=torch.zeros(1, 1, 1), conjugate=True
    )
    u = torch.randn(1, 2**15, 1, 1)
    y, _ = scan(system, u, None)
    expected, _ = REFERENCE(system, u, None)
    # rounding once a step, were it all of one sign, would reach 6e-8 * 2^15 = 2e-3
    assert ((y - expected).abs().max() / expected.abs().max()).item() < 1e-5


@pytest.mark.parametrize("name", ["cpu", "chunked", "reference", "auto"])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("index", [0, 3, 8, 9])
def test_half_precision_is_widened_on_entry_and_autocast_is_off(name, half, index):
    """The result is that of the widened inputs, to the bit; the gradient is in u's own dtype."""
    torch.manual_seed(0)
    scan, system = registry.scans.get(name).build(), example_systems()[index]
    u = torch.randn(2, 70, system.heads, system.inputs).to(half).requires_grad_()
    wide = u.detach().float().requires_grad_()
    expected, expected_final = scan(system, wide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, final = scan(system, u)
    assert y.dtype == expected.dtype
    assert torch.equal(y, expected)
    assert torch.equal(final, expected_final)
    (found,) = torch.autograd.grad(y.abs().square().mean(), u)
    (gradient,) = torch.autograd.grad(expected.abs().square().mean(), wide)
    assert torch.equal(found, gradient.to(half))


@every_backend
@pytest.mark.parametrize("varies", [False, True])
def test_linear_scan_of_bfloat16_accumulates_in_float32(scan, varies):
    """1/256 would vanish beside 1 in bfloat16; here no addition of it is lost."""
    length = 1000
    b = torch.full((1, length, 1), 1 / 256, dtype=torch.bfloat16, requires_grad=True)
    a = torch.ones((1, length, 1) if varies else 1, dtype=torch.bfloat16, requires_grad=True)
    s = scan.linear_scan(a, b, torch.ones(1, 1, dtype=torch.bfloat16))
    assert s.dtype == torch.float32
    assert s[0, -1, 0].item() == pytest.approx(1 + length / 256, rel=1e-6)
    gradients = torch.autograd.grad(s.sum(), (a, b))
    assert {g.dtype for g in gradients} == {torch.bfloat16}
    assert gradients[1][0, 0].item() == pytest.approx(length, rel=2**-8)


def test_linear_scan_writes_every_state():
    a = torch.tensor([0.5, -0.9], dtype=torch.float64)
    b, x0 = torch.randn(2, 45, 2, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    torch.testing.assert_close(linear_scan(a, b, x0), by_definition.linear_scan(a, b, x0))


@every_backend
def test_dense_systems_are_banks_too(scan):
    torch.manual_seed(0)
    A = torch.randn(3, 4, 4, dtype=torch.float64) / 4
    system = DiscreteDense(
        A=A,
        B=torch.randn(3, 4, 2, dtype=torch.float64),
        C=torch.randn(3, 1, 4, dtype=torch.float64),
        D=torch.randn(3, 1, 2, dtype=torch.float64),
    )
    u = torch.randn(2, 30, 3, 2, dtype=torch.float64)
    together, _ = scan(system, u, None)
    for h in range(3):
        alone, _ = scan(system.head(h), u[:, :, h : h + 1], None)
        torch.testing.assert_close(together[:, :, h : h + 1], alone)
