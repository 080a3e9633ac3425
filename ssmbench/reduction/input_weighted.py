"""Balanced truncation for the inputs that a layer really has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.options import POSITIVE_COUNT, Allowed, option
from ssmbench.reduction.balanced_form import BalancedForm, balanced_by
from ssmbench.reduction.balanced_truncation import Truncated
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.reduction.recorded import RecordedInputs
from ssmbench.registry import reducers
from ssmbench.systems import DiscreteDense, DiscreteLTI

#: The steps of which the states are added up one by one, and the doublings after them.
_STEPS, _DOUBLINGS = 256, 64

_SHARE = Allowed("from 1e-6 to 1", lambda v: 1e-6 <= v <= 1)


@dataclass
class InputWeightedConfig:
    """``steps``: of the training data, on which inputs are recorded, in whole sequences. ``white``:
    the share of white noise of the same power in what is taken as the input, so that states that
    the recorded inputs leave alone count for something; 1 gives balanced truncation."""

    steps: int = option(32768, POSITIVE_COUNT)
    white: float = option(0.01, _SHARE)


@reducers.register(
    "input_weighted",
    config=InputWeightedConfig,
    citation="Enns 1984, with the covariance of recorded states; bounds: this work",
)
class InputWeighted(Reducer):
    """Keeps the states that recorded inputs excite and the output sees.

    Without recorded inputs it is balanced truncation.
    """

    config: InputWeightedConfig

    @property
    def recorded_steps(self) -> int:
        return self.config.steps

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        return Truncated(balanced, balanced.tail_bounds())

    def prepare_for(
        self, system: DiscreteLTI, balanced: BalancedForm, inputs: RecordedInputs
    ) -> Prepared:
        require(system.is_real(), "recorded inputs are real: they weight only real systems")
        weighted = input_weighted_form(balanced, inputs, self.config.white)
        without = balanced.tail_bounds()[:, -1:]  # the states that the balanced form has lost
        return Truncated(weighted, gain_bounds(weighted) + without)


def input_weighted_form(
    balanced: BalancedForm, inputs: RecordedInputs, white: float
) -> BalancedForm:
    """The coordinates in which the observability Gramian and the covariance of the states, for
    inputs of which a share is white noise of the same power, are diagonal and equal, S.

    Truncated to r states, the system is stable, since the observability Gramian is that of all
    future outputs; and on the recorded inputs the mean square of its output error is at most
    the sum of S_i^2 beyond r, divided by (1 - white).

    Source: Enns (1984), CDC, for weighted Gramians; Moore (1981), IEEE Trans. Autom. Control 26:17,
        for empirical ones.
    """
    system, hankel = balanced.system, balanced.hankel
    within = torch.arange(hankel.shape[1], device=hankel.device) < balanced.ranks[:, None]
    root = torch.where(within, hankel, 0.0).sqrt()
    values, vectors = torch.linalg.eigh(inputs.state_covariance(system))
    recorded = vectors * ((1 - white) * values.clamp_min(0)).sqrt()[:, None]
    power = inputs.power(system.heads)
    level = white * torch.where(power > 0, power, 1.0)
    noise = torch.diag_embed(level.sqrt()[:, None] * root)
    factor = torch.cat([recorded, noise], -1)
    # Of states that the inputs hardly move none is negligible: their gains may still be large.
    return balanced_by(system, factor, torch.diag_embed(root), balanced.ranks)


def gain_bounds(form: BalancedForm) -> Float[Tensor, "H n_plus_1"]:
    """Upper bounds on the H-infinity error with 0 .. n states kept, in coordinates in which S =
    ``form.hankel`` is the observability Gramian.

    For any input the energy of the output error is at most that of S_2^(1/2) x_2, where x_2 are the
    removed states in the whole system, and :func:`state_gains` bounds the gain to each of these.

    Raises:
        UsageError: see :func:`state_gains`.
    """
    squares = form.hankel * state_gains(form.system).square()
    return torch.nn.functional.pad(squares.flip(-1).cumsum(-1).flip(-1).sqrt(), (0, 1))


def state_gains(system: DiscreteDense) -> Float[Tensor, "H n"]:
    """Upper bounds on the H-infinity norms from the input to each state: root sums of squares, over
    the channels, of the sum s over time of abs(A^k B).

    The first K terms are added up as they are. For the others, with P = abs(A^K), the sum of 2 K
    terms is at most s_K + P s_K, and the whole one at most (I - P)^-1 s_K once P has row sums below
    1.

    Raises:
        UsageError: the row sums of A^K stay large.
    """
    state, total = system.B, torch.zeros_like(system.B)
    for _ in range(_STEPS):
        total += state.abs()
        state = system.A @ state
    power = torch.linalg.matrix_power(system.A, _STEPS)
    for _ in range(_DOUBLINGS):
        size = power.abs()
        if bool((size.sum(-1) <= 0.5).all()):
            rest = torch.eye(system.states, dtype=size.dtype, device=size.device) - size
            return torch.linalg.vector_norm(torch.linalg.solve(rest, total), dim=-1)
        total, power = total + size @ total, power @ power
    raise UsageError("a pole is too close to the unit circle for a bound on the error")
