"""Time-invariant diagonal systems, sampled by a rule in one operation with a hand-written backward.

What :meth:`ssmbench.discretizers.base.Discretizer.__call__` does in about a hundred operations: a
discretizer with an elementwise rule says which functions of z = dt lam it takes, and the poles are
rounded on the side of the unit circle on which they lie. In C on a CPU, in Triton on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Complex, Float, Float64
from torch import Tensor
from torch.autograd import forward_ad

from ssmbench.linalg.precision import double_dtype
from ssmbench.scans.native import sampling as in_c
from ssmbench.scans.native.library import unavailable_reason
from ssmbench.scans.operators import define, differentiate, differentiate_backward, one_by_one
from ssmbench.scans.triton import sampling as in_triton
from ssmbench.scans.triton import unusable_reason
from ssmbench.systems import ContinuousDiagonal, DiscreteDiagonal, ElementwiseRule, Rule
from ssmbench.transforms import functorch_active

_WIDE = (torch.float64, torch.complex128)


def suits(system: ContinuousDiagonal) -> bool:
    """Whether :func:`sampled` takes the system: there are kernels for its device and precision, and
    neither forward mode nor ``torch.func`` is active, which take the way of separate operations."""
    if type(system) is not ContinuousDiagonal or functorch_active():
        return False
    if forward_ad._current_level >= 0 or system.B.numel() == 0:
        return False
    if system.dt.dtype in _WIDE and not _is_wide(system):  # would be rounded before it is used
        return False
    tensors = system.tensors().values()
    if all(t.is_cpu for t in tensors):
        return unavailable_reason() is None
    on_gpu = all(t.is_cuda for t in tensors) and not _is_wide(system)
    return on_gpu and unusable_reason(system.lam.device) is None


def sampled(system: ContinuousDiagonal, rule: ElementwiseRule) -> DiscreteDiagonal:
    """The discrete system, of the same precision, for one that :func:`suits`.

    Computed in double precision and rounded at the end as
    :func:`~ssmbench.discretizers.rounding.rounded` says.
    """
    wide = _is_wide(system)
    real, complex_ = (torch.float64, torch.complex128) if wide else (torch.float32, torch.complex64)
    numbers = rule.rule.value, float(rule.alpha), float(rule.c)
    given = system.lam.to(complex_), system.B.to(complex_), system.dt.to(real)
    lam, B, k, f, _ = _sample(*given, *numbers)
    lam = lam if system.lam.is_complex() else lam.real
    B = B if system.state_dtype.is_complex else B.real
    C, D = system.C.to(_narrow(system.C, wide)), system.D.to(_narrow(system.D, wide))
    held = DiscreteDiagonal(lam=lam, B=B, C=C, D=D, conjugate=system.conjugate)
    return held if rule.keeps_outputs else _seen(held, system, k, f)


def _seen(
    held: DiscreteDiagonal, system: ContinuousDiagonal, k: Tensor, f: Tensor
) -> DiscreteDiagonal:
    """With ``C k`` and ``D + C f`` in place of C and D, computed in double precision."""
    dtype = double_dtype(system.C, held.lam, held.B)
    wide, C = held.D.dtype in _WIDE, system.C.to(dtype)
    k, f = (x if dtype.is_complex else x.real for x in (k, f))
    direct, C = C @ f, C * k[:, None]
    direct = 2 * direct.real if system.conjugate else direct
    D = system.D + direct
    return replace(held, C=C.to(_narrow(C, wide)), D=D.to(_narrow(D, wide)))


def _is_wide(system: ContinuousDiagonal) -> bool:
    return any(t.dtype in _WIDE for t in (system.lam, system.B, system.C, system.D))


def _narrow(tensor: Tensor, wide: bool) -> torch.dtype:
    if tensor.is_complex():
        return torch.complex128 if wide else torch.complex64
    return torch.float64 if wide else torch.float32


# --- the operators ------------------------------------------------------------------------------


def _run(
    lam: Complex[Tensor, "H N"],
    B: Complex[Tensor, "H N m"],
    dt: Float[Tensor, " H"],
    rule: int,
    alpha: float,
    c: float,
) -> tuple[Tensor, ...]:
    """a, b, k, f and the factor of b (H, N) that rounding brings; see ``sampling.h``."""
    results = _results(lam, B, dt, rule, alpha, c)
    _kernels(lam).sample_modes((lam, B, dt), (rule, alpha, c), results)
    return results


def _run_backward(
    lam: Tensor,
    B: Tensor,
    dt: Tensor,
    scale: Tensor,
    da: Tensor,
    db: Tensor,
    dk: Tensor,
    df: Tensor,
    rule: int,
    alpha: float,
    c: float,
) -> tuple[Tensor, Tensor, Tensor]:
    given, results = (lam, B, dt, scale, da, db, dk, df), _gradients(lam, B, dt)
    _kernels(lam).sample_modes_backward(given, (rule, alpha, c), results)
    return results


def _kernels(tensor: Tensor) -> ModuleType:
    """Those for the device of a tensor."""
    return in_triton if tensor.is_cuda else in_c


def _results(
    lam: Tensor, B: Tensor, dt: Tensor, rule: int, alpha: float, c: float
) -> tuple[Tensor, ...]:
    """Not filled; k and f are empty where C and D stay."""
    double, kept = torch.complex128, ElementwiseRule(Rule(rule), alpha, c).keeps_outputs
    k = lam.new_empty(0 if kept else lam.shape, dtype=double)
    f = lam.new_empty(0 if kept else B.shape, dtype=double)
    scale = dt.new_empty(lam.shape, dtype=torch.float64)
    return lam.new_empty(lam.shape), B.new_empty(B.shape), k, f, scale


def _gradients(lam: Tensor, B: Tensor, dt: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return lam.new_empty(lam.shape), B.new_empty(B.shape), dt.new_empty(dt.shape)


def _definition(
    lam: Tensor, B: Tensor, dt: Tensor, scale: Float64[Tensor, "H N"], rule: ElementwiseRule
) -> tuple[Tensor, ...]:
    """a, b, k and f by separate operations, not rounded."""
    wide = B.to(torch.complex128)
    steps = rule.steps(dt.double()[:, None], lam.to(torch.complex128))
    b = (scale * steps.e)[..., None] * wide
    k = torch.ones_like(steps.a) if steps.k is None else steps.k
    f = torch.zeros_like(b) if steps.f is None else steps.f[..., None] * wide
    return steps.a.to(lam.dtype), b.to(B.dtype), k, f


def _adjoint(
    lam: Tensor,
    B: Tensor,
    dt: Tensor,
    scale: Tensor,
    da: Tensor,
    db: Tensor,
    dk: Tensor,
    df: Tensor,
    *numbers: Any,
) -> tuple[Tensor, ...]:
    number, alpha, c = numbers
    rule = ElementwiseRule(Rule(number), alpha, c)
    used = 2 if rule.keeps_outputs else 4

    def of_tensors(lam: Tensor, B: Tensor, dt: Tensor) -> tuple[Tensor, ...]:
        return _definition(lam, B, dt, scale, rule)[:used]

    return torch.func.vjp(of_tensors, lam, B, dt)[1]((da, db, dk, df)[:used])


def _backward(needs: Sequence[bool], saved: tuple, cotangents: tuple) -> tuple:
    tensors, numbers = saved[:4], saved[4:]
    return *_sample_backward(*tensors, *cotangents[:4], *numbers), None, None, None


def _no_jvp(kept: tuple, tangents: tuple) -> tuple[Tensor, ...]:
    raise AssertionError("suits() keeps forward mode from the operator")


_FORM = "int rule, float alpha, float c"
_sample = define(
    f"sample_modes(Tensor lam, Tensor B, Tensor dt, {_FORM})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run,
    _results,
)
_sample_backward = define(
    "sample_modes_backward(Tensor lam, Tensor B, Tensor dt, Tensor scale, Tensor da, Tensor db, "
    f"Tensor dk, Tensor df, {_FORM}) -> (Tensor, Tensor, Tensor)",
    _run_backward,
    _gradients,
)
differentiate(_sample, _backward, _no_jvp, lambda x, y: (*x[:3], y[4], *x[3:]), [4])
differentiate_backward(_sample_backward, _adjoint, _no_jvp)


def _map_backward(info: Any, mapped: tuple, *inputs: Any) -> tuple:
    """Batches of gradients (``is_grads_batched``): a call for each."""
    return one_by_one(_sample_backward, info, mapped, inputs)


torch.library.register_vmap(_sample_backward, _map_backward)
