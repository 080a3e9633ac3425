"""Errors over long sequences with poles next to 1: at most three times those of a float32 loop."""

import pytest
import torch

from ssmbench import registry
from ssmbench.bench import accuracy
from ssmbench.linalg.precision import to_double
from ssmbench.scans import native

LENGTH, GAP = 2**14, 1e-5


@pytest.fixture(scope="module")
def results():
    return list(accuracy.measure(LENGTH, GAP))


def test_every_operation_is_measured_on_every_backend(results):
    measured = {(r.operation, r.backend) for r in results}
    operations = {operation for operation, _ in measured}
    assert len(operations) == 7
    assert measured == {(o, b) for o in operations for b in ("cpu", "chunked")}
    assert all(set(r.errors) == set(r.loop_errors) and "y" in r.errors for r in results)


def test_outputs_and_every_gradient_are_within_three_times_the_loop(results):
    for result in results:
        assert result.worst <= accuracy.ALLOWED, result


def test_the_loop_rounds_at_every_step_so_its_error_is_not_zero(results):
    """Otherwise the ratios would say nothing."""
    assert all(max(r.loop_errors.values()) > 10 * accuracy.FLOOR for r in results)


@pytest.mark.skipif(native.unavailable_reason() is not None, reason="C kernels not compiled")
def test_the_fused_kernel_carries_its_states_in_double(results):
    """Carried in float32 it would be the loop itself, with ratios about 1."""
    (bank,) = [r for r in results if r.backend == "cpu" and "single-channel" in r.operation]
    assert all(bank.ratios[name] < 0.4 for name in ("y", "dlam", "dB", "dC", "du")), bank.ratios


def test_a_constant_gradient_does_not_round_one_way_at_every_step():
    """The adjoint then stands still, and a float32 loop is off by rounding / (1 - |lam|)."""
    case = accuracy._bank(LENGTH, GAP, torch.Generator().manual_seed(0))
    leaves = {**case.leaves, "lam": case.leaves["lam"].abs().to(torch.complex64)}
    gradients = []
    for run in (
        lambda wide: case.loop(wide),
        lambda narrow: case.run(registry.scans.get("cpu").build(), narrow),
        lambda narrow: case.loop(narrow),
    ):
        double = not gradients
        inputs = {
            k: (to_double(v) if double else v).detach().clone().requires_grad_()
            for k, v in leaves.items()
        }
        gradients.append(torch.autograd.grad(run(inputs).sum(), inputs["lam"])[0])
    exact, found, loop = gradients
    scale = exact.abs().max()
    assert (found - exact).abs().max() / scale < 1e-6
    assert (loop - exact).abs().max() / scale > 1e-5


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("varies", [False, True])
def test_the_loop_has_exact_gradients(complex_, varies):
    case = accuracy._linear(complex_, varies)(9, 5e-3, torch.Generator().manual_seed(0))
    leaves = [to_double(v).requires_grad_() for v in case.leaves.values()]
    assert torch.autograd.gradcheck(accuracy._Loop.apply, leaves)


def test_the_loop_has_exact_gradients_of_a_matrix():
    case = accuracy._dense(9, 5e-3, torch.Generator().manual_seed(0))
    A = to_double(case.leaves["A"][0]).requires_grad_()
    b = torch.randn(1, 9, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(accuracy._Loop.apply, (A, b))
