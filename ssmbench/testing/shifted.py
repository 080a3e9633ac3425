"""What a nonlinear map says of itself after a loop shift, against its differences."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ssmbench.analysis.network_bound.shifted import ShiftedMap

#: What the rounding of differences may add, relatively to their size.
_ROUNDING = 1e-9


def check_shifted(form: ShiftedMap, step: Tensor, change: Tensor) -> None:
    """Raise an AssertionError unless ``change`` (n, d') is a change that the form allows for
    ``step`` (n, d).

    With e the change less its linear part, ``e = out v`` for some ``|v_i| <= r_i |y_i|`` exactly if
    ``p'e <= sum r_i |y_i| |out_i' p|`` for all p. Those of the least-squares solution are tried,
    and e itself.
    """
    steps, changes = step.detach().cpu().numpy(), change.detach().cpu().numpy()
    e = changes - steps @ form.linear.value.T
    y = abs(steps @ form.read.value.T)
    directions = np.concatenate([np.linalg.pinv(form.out.value), np.eye(e.shape[1])])
    for p in [*(np.broadcast_to(d, e.shape) for d in directions), e]:
        reached = abs((p * e).sum(1))
        allowed = _allowed(form, y, abs(p @ form.out.value))
        slack = (
            _ROUNDING
            * np.linalg.norm(p, axis=1)
            * (np.linalg.norm(steps, axis=1) + np.linalg.norm(changes, axis=1))
        )
        excess = (reached - allowed - slack).max()
        assert excess <= 0, (
            f"a difference leaves the slopes that it declares by {excess:.3g}: the rest of its "
            "shifted form is larger than its radius"
        )


def _allowed(form: ShiftedMap, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The largest sum of |v_i| times weights, (n,): by each rest, or by each group of them."""
    total = np.zeros(len(y))
    for group in np.unique(form.groups):
        members = form.groups == group
        radius = form.radius[members][0]
        norms = (np.linalg.norm(a[:, members], axis=1) for a in (y, weights))
        total += radius * np.prod(list(norms), axis=0)
    return total
