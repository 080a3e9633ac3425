"""How much the prediction of a network changes when its systems are replaced: proved bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ssmbench.analysis.network_bound.bound import frequency_shares, network_bound
from ssmbench.analysis.network_bound.enclosed import OUTWARD
from ssmbench.analysis.network_bound.local import Centre
from ssmbench.analysis.network_bound.lumped import LumpedNetwork, Readout
from ssmbench.analysis.network_bound.paired import ZeroInput, paired, sum_gain
from ssmbench.analysis.network_bound.responses import (
    bin_weights,
    compose,
    impulse_gain,
    transform,
)
from ssmbench.systems import DiscreteLTI

#: Least share of its root mean square that a frequency of the known signals is given.
_FLOOR = 0.1
#: Frequencies at which two systems are compared for the unit of their change.
_FREQUENCIES = 129


@dataclass(frozen=True)
class ChangeBound:
    """A proved bound on how much the prediction changes, in l2 over all of it: at most
    ``start + gain hypot(|u|, offset)`` for an input u of at most the norm for which it was made;
    infinite for the ``reason`` given.
    """

    gain: float
    offset: float = 0.0
    start: float = 0.0
    reason: str = ""

    def at(self, norm: float) -> float:
        """The bound for inputs of at most this norm."""
        return (self.start + self.gain * math.hypot(norm, self.offset)) * OUTWARD


def change_bound(
    full: LumpedNetwork,
    reduced: LumpedNetwork,
    rest: Sequence[ZeroInput],
    norm: float,
    work: float,
) -> ChangeBound:
    """A bound on the change of the prediction of ``full`` when its systems are those of
    ``reduced``, which is the same network otherwise; smallest for inputs of this ``norm``.

    ``rest``: what each block with a system has, first to last. ``work``: multiplications, as in
    :func:`~.bound.network_bound`.

    Raises:
        ValueError: the networks differ in more than their systems.
    """
    scale = _scale(full, reduced)
    pair = paired(full, reduced, scale, known=rest)
    offset = 0.0
    if not all(zero.is_zero for zero in rest):
        pair, offset = _weighted(pair, norm)
    return _found(pair, scale, work, offset=offset)


def change_bound_from(
    full: LumpedNetwork,
    reduced: LumpedNetwork,
    centres: Sequence[Centre],
    at_zero: float,
    work: float,
) -> ChangeBound:
    """As :func:`change_bound`, by the change ``at_zero`` for zero input, which is known, and a
    bound on how much more the change is for others.

    With slopes of Lipschitz constant M, a remainder's change differs from that for zero input by at
    most
    ``r |de| + M |d0| (|y| + |de| / 2)``: d0 its change for zero input, de the difference to that,
    and y what it reads, from what it reads for zero input.

    Raises:
        ValueError: the networks differ in more than their systems.
    """
    bends = _bends(full, centres)
    if bends is None:
        return ChangeBound(math.inf, reason="a nonlinearity has slopes that jump")
    scale = _scale(full, reduced)
    return _found(paired(full, reduced, scale, bends=bends), scale, work, start=at_zero)


def _found(
    pair: LumpedNetwork, scale: float, work: float, offset: float = 0.0, start: float = 0.0
) -> ChangeBound:
    found = network_bound(pair, work)
    if not math.isfinite(found.gain):
        return ChangeBound(math.inf, reason=found.reason)
    return ChangeBound(found.gain * scale * OUTWARD, offset, start)


def _bends(network: LumpedNetwork, centres: Sequence[Centre]) -> list[np.ndarray] | None:
    """M |d0| of the remainders of each block; 0 before the first system, where nothing changes;
    None if the slopes of one are not Lipschitz."""
    left, changed, bends = iter(centres), False, []
    for block in network.blocks:
        changed = changed or block.system is not None
        known, bend = block.pointwise, np.zeros(block.remainders)
        if known is not None:
            apart = next(left).apart
            bend = None if known.curvature is None else known.curvature * apart * OUTWARD
        elif block.remainders and changed:
            bend = None
        if bend is None and changed:
            return None
        bends.append(np.zeros(block.remainders) if bend is None else bend)
    return bends


def composed_change(
    full: LumpedNetwork, reduced: LumpedNetwork, known: Sequence[ZeroInput], norm: float
) -> ChangeBound:
    """As :func:`change_bound`, from the norms of all parts one after another: much larger, and of
    little work."""
    signal, change, left = norm * full.encoder.norm, 0.0, iter(known)
    for a, b in zip(full.blocks, reduced.blocks, strict=True):
        remainders = a.out.norm * float(a.radius.max(initial=0.0)) * a.read.norm
        w, dw = a.before.norm * signal, a.before.norm * change
        G, H = a.own_system, b.own_system
        if G is not None and H is not None:
            apart = sum_gain(G, H, full.horizon)
            start = next(left).change(G, H, apart)
            offset = float(np.linalg.norm(start.values)) + float(start.errors[0])
            dw = impulse_gain(H, full.horizon) * dw + apart * w + offset
            w = impulse_gain(G, full.horizon) * w
        after = a.through.norm + remainders
        signal = a.skip.norm * signal + after * w
        change = a.skip.norm * change + after * dw
    read = 1.0
    if full.readout is not Readout.steps:
        read = max(float(np.linalg.norm(full.readout.weights(n))) for n in full.lengths)
    return ChangeBound(0.0, start=full.decoder.norm * read * change * OUTWARD)


def _scale(full: LumpedNetwork, reduced: LumpedNetwork) -> float:
    """A unit of the change, so that it is about as large as the signals: the largest relative
    change of an impulse response; no proof depends on it."""
    systems = [
        (a.own_system, b.own_system) for a, b in zip(full.blocks, reduced.blocks, strict=True)
    ]
    shares = [_relative_change(G, H) for G, H in systems if G is not None and H is not None]
    largest = max(shares, default=0.0)
    return largest if 0 < largest < math.inf else 1.0


def _relative_change(a: DiscreteLTI, b: DiscreteLTI) -> float:
    angles = torch.linspace(0, math.pi, _FREQUENCIES, dtype=torch.float64)
    one, other = (x.detach().double().frequency_response(angles).cpu().numpy() for x in (a, b))
    size = float(np.linalg.norm(one, axis=(-2, -1)).max(initial=0.0))
    apart = float(np.linalg.norm(one - other, axis=(-2, -1)).max(initial=0.0))
    return apart / size if size > 0 else apart


def _weighted(pair: LumpedNetwork, norm: float) -> tuple[LumpedNetwork, float]:
    """The pair with a factor at each frequency of the known channel, of which the spectrum is 1
    everywhere, and the root of the mean of their squares: a norm of that channel.

    Where the change without remainders is Z_u u + Z_s s, the sum of both norms follows from the
    factors that make ``|Z_s| / factor`` as large as |Z_u| times their quotient; for a sum over the
    steps that of its terms.
    """
    _, z = compose(pair)
    Z = transform(z).values
    inputs = pair.inputs
    by_u = np.linalg.norm(Z[:, :, : inputs - 1], 2, axis=(1, 2))
    by_s = np.linalg.norm(Z[:, :, inputs - 1], axis=1)
    weights = bin_weights(pair.horizon)
    from_u, shape, shares = float(by_u.max()), by_s, weights
    if pair.readout is not Readout.steps:
        shares = frequency_shares(pair, max(pair.lengths))
        from_u = math.sqrt(float((shares * by_u**2).sum()))
        shape = np.sqrt(np.sqrt(shares / weights) * by_s)
    shape = _with_floor(shape, weights)
    size = math.sqrt(float((weights * shape**2).sum()))
    from_s = size
    if pair.readout is not Readout.steps:
        from_s *= math.sqrt(float((shares * (by_s / shape) ** 2).sum()))
    wanted = math.sqrt(norm * from_s / from_u) if min(norm, from_s, from_u) > 0 else 1.0
    norms = shape * (wanted / size)
    offset = math.sqrt(float((weights * norms**2).sum()) * OUTWARD)
    return replace(pair, last_norms=norms), offset


def _with_floor(shape: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Positive factors (F,), of which none is a small share of the root of their mean square."""
    size = math.sqrt(float((weights * shape**2).sum()))
    if size == 0:
        return np.ones_like(shape)
    return np.sqrt(shape**2 + (_FLOOR * size) ** 2)
