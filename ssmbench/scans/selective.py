"""Time-varying systems of one input a head, sampled, scanned and read in one operation.

:func:`selective_layer` defines it, by operations that write every state; backends replace it by
kernels that write states at the borders of chunks only (:mod:`ssmbench.scans.native.selective`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from ssmbench.systems import (
    ElementwiseRule,
    Readout,
    Rule,
    SampledModes,
    Steps,
    TimeVaryingDiagonal,
    TimeVaryingModes,
    by_head,
)
from ssmbench.transforms import functorch_active

#: From u, dt, lam, B, C, D, x0 and the :class:`Form` to y and the final state.
SelectiveLayer = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Form:
    """What is done at each step: the rule that samples, None for discrete systems; whether the
    input enters by Euler's method; whether outputs read the state after the input."""

    rule: ElementwiseRule | None = None
    euler_input: bool = False
    after: bool = False

    @property
    def numbers(self) -> tuple[int, float, float, bool, bool]:
        """As an operator takes them: the number of the rule, its places, and the two flags."""
        rule = ElementwiseRule(Rule.exponential) if self.rule is None else self.rule
        number = 0 if self.rule is None else rule.rule.value
        return number, rule.alpha, rule.c, self.euler_input, self.after

    @classmethod
    def from_numbers(cls, number: int, alpha: float, c: float, euler: bool, after: bool) -> Form:
        """The inverse of :attr:`numbers`."""
        return cls(ElementwiseRule(Rule(number), alpha, c) if number else None, euler, after)


def selective_layer(
    u: Float[Tensor, "B L H"],
    dt: Float[Tensor, "B L H"] | None,
    lam: Float[Tensor, "*place N"],
    B: Float[Tensor, "B L G N"],
    C: Float[Tensor, "B L G N"],
    D: Float[Tensor, "*steps H"],
    x0: Float[Tensor, "B H N"] | None,
    form: Form,
) -> tuple[Float[Tensor, "B L H"], Float[Tensor, "B H N"]]:
    """``x[k+1] = a x[k] + e B[k] u[k]``, ``y[k] = sum over N of C[k] (kappa x + f B[k] u[k]) +
    D u[k]``, x being x[k] or, with ``form.after``, x[k+1]; and the final state x[L].

    All real, of one dtype (float32 or float64) and on one device, with any strides. The H channels
    are G groups of H / G neighbours, which share rows of B and C. D is (H,), or (B, L, H) where it
    varies. x0 is zero where None.

    With a rule, dt is (B, L, H), lam (H, N), and a, e, kappa and f are those of
    :meth:`~ssmbench.systems.ElementwiseRule.steps`. Without one, dt is None, lam, (B, L, G, N), is
    a, and e = kappa = 1, f = 0.
    """
    from ssmbench.scans.native import linear_scan  # native falls back to this module

    channels = u.shape[2]
    b, c = (by_head(table, channels) for table in (B, C))
    drive = b * u[..., None]
    if form.rule is None:
        steps = Steps(by_head(lam, channels), torch.ones_like(drive))
    else:
        assert dt is not None, "a rule needs step sizes"
        steps = form.rule.steps(dt[..., None], lam, form.euler_input)
    start = u.new_zeros(len(u), *b.shape[2:]) if x0 is None else x0
    a, added = steps.a.flatten(2), (steps.e * drive).flatten(2)
    states = linear_scan(a, added, start.flatten(1)).unflatten(-1, start.shape[1:])
    seen = states if form.after else torch.cat([start[:, None], states[:, :-1]], 1)
    seen = seen if steps.k is None else steps.k * seen
    seen = seen if steps.f is None else seen + steps.f * drive
    return (c * seen).sum(-1) + D * u, states[:, -1]


def suits(system: TimeVaryingModes, u: Tensor) -> bool:
    """Whether :func:`selective_layer` can stand for the scan of ``system`` over ``u``: heads of one
    input and output, real, and with a rate of each mode that all steps share where the scan samples
    it. Forward mode and ``torch.func`` take the way of separate operations.
    """
    tensors = (*system.tensors().values(), u)
    if functorch_active() or forward_ad._current_level >= 0 or any(map(torch.is_complex, tensors)):
        return False
    if isinstance(system, SampledModes):
        fixed = system.lam.shape[:2] == (1, 1)
        meant = system.sampling.keeps_outputs or not system.euler_input  # else it is refused
        return fixed and meant and system.inputs == system.outputs == 1
    return isinstance(system, TimeVaryingDiagonal) and system.inputs == system.outputs == 1


def scanned(
    layer: SelectiveLayer,
    system: SampledModes | TimeVaryingDiagonal,
    u: Float[Tensor, "B L H 1"],
    x0: Float[Tensor, "B H N"] | None,
) -> tuple[Float[Tensor, "B L H 1"], Float[Tensor, "B H N"]]:
    """Outputs and final state of a system that :func:`suits`, by a function of the channels."""
    tensors = (*system.tensors().values(), u)
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    # (The derivative of squeeze is a view, that of an index a tensor of zeros.)
    B, C = system.B.squeeze(-1).to(dtype), system.C.squeeze(-2).to(dtype)
    D = system.D.squeeze(-1).squeeze(-1).to(dtype)
    start = None if x0 is None else x0.to(dtype)
    if isinstance(system, SampledModes):
        form = Form(system.sampling, system.euler_input, system.readout is Readout.after)
        groups = math.lcm(B.shape[2], C.shape[2])
        lam = by_head(system.lam, system.heads).squeeze(0).squeeze(0).to(dtype)
        B, C = (by_head(t.expand(*u.shape[:2], *t.shape[2:]), groups) for t in (B, C))
        dt = system.dt.to(dtype)
    else:
        form, dt, lam = Form(), None, system.lam.to(dtype)
    y, final = layer(u.squeeze(-1).to(dtype), dt, lam, B, C, D, start, form)
    return y[..., None], final
