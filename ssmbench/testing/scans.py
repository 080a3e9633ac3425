"""Conformance checks of scans: outputs, states and gradients compared with another backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.nn.contracts import check_built
from ssmbench.nn.system_contracts import check_scanned
from ssmbench.scans.base import ScanBackend, Scannable
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteTimeVarying
from ssmbench.testing.modules import total
from ssmbench.testing.report import Subject, skip_unless
from ssmbench.testing.time_varying import (
    example_delta_systems,
    example_time_varying_systems,
    gradient_of_views,
)

#: Relative error of float32 scans: rounding over some hundred steps.
_SCAN_TOLERANCE = 2e-5
#: Gradients of bfloat16 inputs are rounded to bfloat16 once, at the end: by one unit at most.
_HALF_TOLERANCE = 2**-8


def builds(subject: Subject) -> None:
    """It can be built."""
    check_built(subject.entry, subject.build(), ScanBackend)


def returns_outputs_and_final_state(subject: Subject) -> None:
    """It returns y (B, L, H, p) and x_final (B, H, N), with the dtypes that the inputs imply."""
    backend = subject.build()
    for system in _supported(backend, example_systems()):
        u = torch.randn(2, 5, system.heads, system.inputs)
        check_scanned(backend, system, u, backend(system, u))


def outputs_and_gradients_agree(subject: Subject) -> None:
    """Outputs, final state and all gradients agree with the reference."""
    backend, reference = subject.build(), _reference()
    for system in _supported(backend, example_systems()):
        for length in (1, 7, 130):
            check_scan(backend, reference, system, length)


def bfloat16_inputs_agree(subject: Subject) -> None:
    """For bfloat16 inputs, outputs, final state and gradients agree with the reference: only the
    input is rounded, the computation is in the dtype of the system.
    """
    backend, reference = subject.build(), _reference()
    for system in _supported(backend, example_systems()):
        check_scan(backend, reference, system, 130, torch.bfloat16)


def second_derivatives_agree(subject: Subject) -> None:
    """Second derivatives agree with the reference, or the backend raises an error."""
    backend, reference = subject.build(), _reference()
    for system in _supported(backend, example_systems()):
        check_second_derivatives(backend, reference, system)


def linear_scan_agrees(subject: Subject) -> None:
    """The states of the linear scan, in both directions, and its gradients agree with the
    reference.
    """
    backend, reference = subject.build(), _reference()
    dtypes = [
        dtype
        for dtype in (torch.float32, torch.complex64, torch.bfloat16)
        if backend.linear_scan_unsupported_reason(torch.zeros(1, dtype=dtype)) is None
    ]
    skip_unless(bool(dtypes), "has no linear scan on the CPU of this machine")
    for dtype in dtypes:
        for varies, reverse in ((False, False), (False, True), (True, False), (True, True)):
            check_linear_scan(backend, reference, dtype, varies, reverse)


def time_varying_systems_agree(subject: Subject) -> None:
    """Outputs, final state and gradients of time-varying systems agree with the reference."""
    backend, reference = subject.build(), _reference()
    for length, dtype in ((1, torch.float32), (37, torch.float32), (37, torch.bfloat16)):
        for system in _supported(backend, _time_varying(length)):
            check_scan(backend, reference, system, length, dtype)


def second_derivatives_of_time_varying_systems_agree(subject: Subject) -> None:
    """Second derivatives of time-varying systems agree with the reference, or the backend raises an
    error.
    """
    backend, reference = subject.build(), _reference()
    for length in (1, 37):
        for system in _supported(backend, _time_varying(length)):
            check_second_derivatives(backend, reference, system, length)


CHECKS = (
    builds,
    returns_outputs_and_final_state,
    outputs_and_gradients_agree,
    bfloat16_inputs_agree,
    second_derivatives_agree,
    linear_scan_agrees,
    time_varying_systems_agree,
    second_derivatives_of_time_varying_systems_agree,
)


def _time_varying(length: int) -> list[DiscreteTimeVarying]:
    return [*example_time_varying_systems(2, length), *example_delta_systems(2, length)]


def _reference() -> ScanBackend:
    return registry.scans.get("reference").build()


def _supported(backend: ScanBackend, systems: Sequence[Scannable]) -> list[Scannable]:
    """The systems that a backend runs on the CPU; the check is skipped if there are none."""
    reasons = [backend.refusal(system, torch.device("cpu")) for system in systems]
    found = [system for system, reason in zip(systems, reasons, strict=True) if reason is None]
    skip_unless(bool(found), f"runs none of the example systems on a CPU: {reasons[0]}")
    return found


def check_linear_scan(
    backend: ScanBackend,
    reference: ScanBackend,
    dtype: torch.dtype,
    varies: bool,
    reverse: bool,
) -> None:
    """Compare the linear scan of ``backend`` with that of ``reference``: states and gradients.

    ``varies``: whether the coefficient a differs from step to step. ``reverse``: from the last step
    to the first.

    Raises:
        AssertionError: they differ by more than rounding.
    """
    for length in (1, 37, 130):
        a = torch.randn((2, length, 5) if varies else (5,), dtype=dtype)
        leaves = {
            "a": 0.95 * a / a.abs(),
            "b": torch.randn(2, length, 5, dtype=dtype),
            "x0": torch.randn(2, 5, dtype=dtype),
        }
        weight = torch.randn(2, length, 5, dtype=dtype)
        values = []
        for scan in (backend, reference):
            inputs = [leaf.clone().requires_grad_() for leaf in leaves.values()]
            s = scan.linear_scan(*inputs, reverse=reverse)
            gradients = torch.autograd.grad((s * weight.conj()).real.sum(), inputs)
            values.append({"s": s, **dict(zip(leaves, gradients, strict=True))})
        case = f"linear scan, {dtype}, varies={varies}, reverse={reverse}, L={length}"
        for key, expected in values[1].items():
            _agree(values[0][key], expected, f"{key} of {case}")


def example_systems() -> list[DiscreteDiagonal | DiscreteDense]:
    """Ten float32 systems: diagonal (conjugate pairs, real, complex) and dense."""
    shapes = [(3, 4, 1, 1), (1, 5, 3, 2)]
    banks = [(18, 3, 1, 1), *shapes]  # more heads than a SIMD vector holds, and not a multiple
    pairs = [_random_diagonal(*shape, complex_=True, conjugate=True) for shape in banks]
    real = [_random_diagonal(*shape, complex_=False, conjugate=False) for shape in banks]
    full = [_random_diagonal(*shape, complex_=True, conjugate=False) for shape in shapes]
    return [*pairs, *real, *full, *(_random_dense(*shape) for shape in shapes)]


def check_scan(
    backend: ScanBackend,
    reference: ScanBackend,
    system: Scannable,
    length: int,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compare two backends on one system: y, x_final and the gradients of all inputs.

    ``dtype`` is that of u; in bfloat16, only u and its gradient are rounded.

    Raises:
        AssertionError: they differ by more than rounding.
    """
    u = torch.randn(2, length, system.heads, system.inputs).to(dtype)
    initial = torch.randn(2, system.heads, system.states, dtype=system.state_dtype)
    for x0 in (None, initial):
        found = _run(backend, system, u, x0)
        expected = _run(reference, system, u, x0)
        for key, value in expected.items():
            case = f"{type(system).__name__}, u in {dtype}, L={length}"
            _agree(found[key], value, f"{key} of {case}")


def check_second_derivatives(
    backend: ScanBackend,
    reference: ScanBackend,
    system: Scannable,
    length: int = 7,
) -> None:
    """Compare the gradients of a weighted sum of all first gradients.

    The loss is linear in the outputs, so its own second derivative is zero, and any term that an
    operator omits from its second derivative is visible in the result.

    Raises:
        AssertionError: they differ by more than rounding.
    """
    u = torch.randn(2, length, system.heads, system.inputs)
    x0 = torch.randn(2, system.heads, system.states, dtype=system.state_dtype)
    expected = _second_gradients(reference, system, u, x0)
    try:
        found = _second_gradients(backend, system, u, x0)
    except (RuntimeError, NotImplementedError, UsageError):
        return  # the backend states that it has no second derivatives
    for key, value in expected.items():
        _agree(found[key], value, f"second {key} of {type(system).__name__}, L={length}")


def _second_gradients(
    backend: ScanBackend,
    system: Scannable,
    u: Tensor,
    x0: Tensor,
) -> dict[str, Tensor]:
    system = system.map(lambda t: t.detach().requires_grad_())
    leaves = {**system.tensors(), "u": u.clone().requires_grad_(), "x0": x0.clone()}
    leaves["x0"].requires_grad_()
    y, final = backend(system, leaves["u"], leaves["x0"])
    energy = (_weighted(y) + _weighted(final)).real
    inputs = list(leaves.values())
    first = torch.autograd.grad(energy, inputs, create_graph=True)
    first = [gradient_of_views(g, leaf) for g, leaf in zip(first, inputs, strict=True)]
    weighted = total(_weighted(g).real for g in first)
    second = torch.autograd.grad(weighted, inputs, allow_unused=True)
    named = zip(leaves, second, strict=True)
    return {
        f"gradient of {k}": torch.zeros_like(leaves[k])
        if g is None
        else gradient_of_views(g, leaves[k])
        for k, g in named
    }


def _weighted(values: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1.5, values.numel(), dtype=torch.float64).reshape(values.shape)
    return (values * weights).sum() * (1 + 0.5j)


def _agree(found: Tensor, expected: Tensor, what: str) -> None:
    assert found.dtype == expected.dtype, f"{what}: {found.dtype} instead of {expected.dtype}"
    tolerance = _HALF_TOLERANCE if expected.dtype == torch.bfloat16 else _SCAN_TOLERANCE
    found, expected = found.to(torch.complex128), expected.to(torch.complex128)
    error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
    assert error < tolerance, f"{what}: relative error {error:.1e}"


def _run(
    backend: ScanBackend,
    system: Scannable,
    u: Tensor,
    x0: Tensor | None,
) -> dict[str, Tensor]:
    # No clones: tensors that are expanded over steps or heads stay expanded views.
    system = system.map(lambda t: t.detach().requires_grad_())
    leaves = {**system.tensors(), "u": u.detach().clone().requires_grad_()}
    if x0 is not None:
        leaves["x0"] = x0.detach().clone().requires_grad_()
    y, final = backend(system, leaves["u"], leaves.get("x0"))
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape)
    energy = (y * weights).abs().square().mean() + (final * (1 + 0.5j)).real.sum()
    gradients = torch.autograd.grad(energy, list(leaves.values()), allow_unused=True)
    named = zip(leaves, gradients, strict=True)
    given = {f"gradient of {k}": gradient_of_views(g, leaves[k]) for k, g in named if g is not None}
    return {"y": y, "x_final": final, **given}


def _random_diagonal(
    H: int,
    N: int,
    m: int,
    p: int,
    *,
    complex_: bool,
    conjugate: bool,
) -> DiscreteDiagonal:
    dtype = torch.complex64 if complex_ else torch.float32
    modulus = torch.cat([torch.zeros(H, 1), 0.5 + 0.499 * torch.rand(H, N - 1)], -1)
    direction = torch.randn(H, N, dtype=dtype)
    return DiscreteDiagonal(
        lam=modulus * direction / direction.abs(),
        B=torch.randn(H, N, m, dtype=dtype),
        C=torch.randn(H, p, N, dtype=dtype),
        D=torch.randn(H, p, m),
        conjugate=conjugate,
    )


def _random_dense(H: int, N: int, m: int, p: int) -> DiscreteDense:
    A = torch.linalg.qr(torch.randn(H, N, N)).Q * (1 - torch.rand(H, 1, 1) / 4)
    return DiscreteDense(
        A=A,
        B=torch.randn(H, N, m),
        C=torch.randn(H, p, N),
        D=torch.randn(H, p, m),
    )
