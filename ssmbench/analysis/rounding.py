"""What the arithmetic of a layer may add to its gain.

A certificate is one of exact arithmetic on the matrices as they are stored. The scan that runs
rounds at every step, and the errors of a step are amplified like an input: where modes cancel, or
poles lie next to the unit circle, far more than the signal is.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.phase_bound import triangle_bound
from ssmbench.systems import DiagonalSystem, DiscreteDense, DiscreteSystem

#: Roundings of one step, of a mode and of an output: product and sum, each in a scan's own order.
_PER_STEP = 4


@torch.no_grad()
def rounding_gain(system: DiscreteSystem) -> Float[Tensor, " H"]:
    """How much more than its norm each system may amplify, in its own precision, (H,) float64.

    ``4 u (|D| + sum |c| |b| / (1 - |lam|))`` for diagonal systems, u the unit roundoff. For dense
    ones, with the gains from the input to the state and from an error in the state to the output,
    ``(N + 4) u (|D| + |C| g_in + g_out (|A| g_in + |B|))``. To first order in u, for scans whose
    error is that of a sequential one, which the tests of every scan hold them to. Infinite for an
    unstable system.
    """
    unit = torch.finfo(system.D.dtype).eps / 2
    system = system.detach().double()
    if not system.states:
        bound = unit * system.D.abs().flatten(1).sum(1)
    elif isinstance(system, DiagonalSystem):
        bound = _PER_STEP * unit * triangle_bound(system)
    else:
        bound = (system.states + _PER_STEP) * unit * _through_states(system.to_dense())
    return torch.nan_to_num(bound, nan=math.inf, posinf=math.inf)


def _through_states(system: DiscreteDense) -> Tensor:
    eye = torch.eye(system.states, dtype=system.A.dtype, device=system.A.device)
    eye = eye.expand(system.heads, -1, -1)
    no_input = torch.zeros_like(system.B[:, :, :1]).mT.expand(-1, system.outputs, system.states)
    no_output = torch.zeros_like(system.B)
    inward = hinf_norm(dataclasses.replace(system, C=eye, D=no_output)).norm
    outward = hinf_norm(dataclasses.replace(system, B=eye, D=no_input.to(system.D))).norm
    A, B, C, D = (torch.linalg.matrix_norm(t) for t in (system.A, system.B, system.C, system.D))
    return D + C * inward + outward * (A * inward + B)
