"""A network beside the same one with other linear systems, as one lumped network: its output is the
change of the prediction.

Let x(t) be the signals of a network f around those for zero input, and e(t) the change of its
signals when each system G is replaced by H. Both have the same remainders, so that those of f
satisfy
``|v_i| <= r_i |y_i|``, v the difference to zero input, and their changes ``|dv_i| <= r_i |dy_i|``.
The change of a system's output w is ``H e + (G - H) x + c``, with c the change for zero input,
which is known. So a block of the pair has the state (x, e, s) and the remainders (v, dv), s a
channel of which c is the response; what bounds networks (:mod:`.bound`) bounds their changes.

Or e is the change less that for zero input. Then c is no part of it, and a remainder's change d
differs from that for zero input, d0, by at most ``r |de| + M |d0| (|y| + |de| / 2)``, where the
slope of its map has the Lipschitz constant M: the second term is one more remainder, which y
drives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssmbench.analysis.network_bound.enclosed import OUTWARD, Enclosed, norm_bound
from ssmbench.analysis.network_bound.lumped import LumpedBlock, LumpedNetwork, PairedSystem
from ssmbench.analysis.network_bound.responses import Response, difference
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiscreteLTI


class NetworksDifferError(ValueError):
    """Two networks that should be the same but for their systems are not."""

    def __init__(self) -> None:
        super().__init__("the networks differ in more than their systems")


@dataclass(frozen=True, eq=False)
class ZeroInput:
    """What is known of a system G, and of H in its place, where the network's input is zero.

    ``signal`` (L, inputs of G): what G reads, with a bound ``error`` on the sum over the steps of
    the norm of what is true minus that. ``start`` (L, outputs of G): the difference of what G and H
    answer to their initial states, with a bound ``start_error`` likewise.
    """

    signal: np.ndarray
    error: float
    start: np.ndarray | None = None
    start_error: float = 0.0

    @property
    def is_zero(self) -> bool:
        """Whether H in place of G changes nothing here."""
        return self.start is None and not self.signal.any() and self.error == 0

    def change(self, full: DiscreteLTI, reduced: DiscreteLTI, sum_gain: float) -> Response:
        """The change (L, outputs of G, 1) of the output by H; ``sum_gain`` of G - H."""
        apart = difference(full, reduced, Response(self.signal[:, :, None], np.zeros(1)))
        off = sum_gain * self.error
        values = apart.values
        if self.start is not None:
            values = values + self.start[:, :, None]
            off += self.start_error + EPS * float(np.linalg.norm(values, axis=1).sum())
        return Response(values, (apart.errors + off) * OUTWARD)


def paired(
    full: LumpedNetwork,
    reduced: LumpedNetwork,
    scale: float,
    *,
    known: Sequence[ZeroInput] = (),
    bends: Sequence[np.ndarray] = (),
) -> LumpedNetwork:
    """The pair as one network to the change of the prediction in units of ``scale``.

    ``known``: what each block with a system has for zero input; the network then reads (u, s),
    without s where nothing changes for zero input. Or ``bends``, as :func:`_bends` gives them; it
    then reads u, and its output is the change less that for zero input.
    """
    _require_same((full.encoder, full.decoder), (reduced.encoder, reduced.decoder))
    left = iter(known)
    last = max((k for k, b in enumerate(full.blocks) if b.system is not None), default=-1)
    blocks = [
        _paired(
            a,
            b,
            _paired_system(a.own_system, b.own_system, left, full.horizon, scale),
            later=k < last or any(bend.any() for bend in bends[k + 1 :]),
        )
        for k, (a, b) in enumerate(zip(full.blocks, reduced.blocks, strict=True))
    ]
    if bends:
        pairs = zip(blocks, full.blocks, bends, strict=True)
        blocks = [_bent(block, own, bend, scale) for block, own, bend in pairs]
    return LumpedNetwork(
        encoder=_of_signals(full.encoder, one=not all(zero.is_zero for zero in known)),
        blocks=blocks,
        decoder=_of_changes(full.decoder),
        readout=full.readout,
        lengths=full.lengths,
    )


def _of_signals(encoder: Enclosed, *, one: bool) -> Enclosed:
    """The encoder to the signals, and an input for the channel s if there is ``one``."""
    width, inputs = encoder.value.shape
    value = np.zeros((2 * width + 1, inputs + one))
    value[:width, :inputs] = encoder.value
    value[-1, inputs:] = 1.0
    return Enclosed(value, encoder.error)


def _of_changes(decoder: Enclosed) -> Enclosed:
    outputs, features = decoder.value.shape
    value = np.zeros((outputs, 2 * features + 1))
    value[:, features:-1] = decoder.value
    return Enclosed(value, decoder.error)


def _paired(
    a: LumpedBlock, b: LumpedBlock, system: PairedSystem | None, *, later: bool
) -> LumpedBlock:
    """``later``: whether a later system, or a later remainder of bent slopes, reads the signals
    themselves; else only their change counts, and the remainders v are left out."""
    _require_same(
        (a.before, a.skip, a.through, a.read, a.out), (b.before, b.skip, b.through, b.read, b.out)
    )
    if not np.array_equal(a.radius, b.radius) or (a.system is None) != (b.system is None):
        raise NetworksDifferError
    signals, changes = _Rests.of(a, 0, 0), _Rests.of(a, 1, 1)
    remainders = signals.beside(changes) if later else changes
    return LumpedBlock(
        system=system,
        before=_twice(a.before, 1.0),
        skip=_twice(a.skip, 1.0),
        through=_twice(a.through, 0.0),
        read=Enclosed(remainders.read, a.read.error),
        out=Enclosed(remainders.out, a.out.error),
        radius=remainders.radius,
        groups=remainders.groups,
    )


def _bent(block: LumpedBlock, own: LumpedBlock, bend: np.ndarray, scale: float) -> LumpedBlock:
    """The block of a pair with the remainders of bent slopes, which read signals and add to
    changes."""
    n = own.remainders
    if not bend.any():
        return block
    present = _Rests(block.read.value, block.out.value, block.radius.copy(), block.groups)
    present.radius[-n:] = (present.radius[-n:] + bend / 2) * OUTWARD
    more = replace(_Rests.of(own, 0, 1), radius=bend / scale * OUTWARD)
    remainders = present.beside(more)
    return replace(
        block,
        read=Enclosed(remainders.read, block.read.error * 2),
        out=Enclosed(remainders.out, block.out.error * 2),
        radius=remainders.radius,
        groups=remainders.groups,
    )


@dataclass(frozen=True, eq=False)
class _Rests:
    """Rests of a block of a pair, as in a :class:`LumpedBlock`."""

    read: np.ndarray
    out: np.ndarray
    radius: np.ndarray
    groups: np.ndarray

    @staticmethod
    def of(block: LumpedBlock, source: int, target: int) -> _Rests:
        """Those of a network's block, which read the signals (0) or their changes (1), and add to
        the signals or to their changes."""
        (n, inner), outer = block.read.value.shape, len(block.out.value)
        read, out = np.zeros((n, 2 * inner + 1)), np.zeros((2 * outer + 1, n))
        read[:, source * inner : (source + 1) * inner] = block.read.value
        out[target * outer : (target + 1) * outer] = block.out.value
        return _Rests(read, out, block.radius, block.groups)

    def beside(self, other: _Rests) -> _Rests:
        """Both."""
        first = int(self.groups.max(initial=-1)) + 1
        return _Rests(
            np.concatenate([self.read, other.read]),
            np.concatenate([self.out, other.out], 1),
            np.concatenate([self.radius, other.radius]),
            np.concatenate([self.groups, other.groups + first]),
        )


def _paired_system(
    full: DiscreteLTI | None,
    reduced: DiscreteLTI | None,
    left: Iterator[ZeroInput],
    horizon: int,
    scale: float,
) -> PairedSystem | None:
    if full is None or reduced is None:
        return None
    gain, zero = sum_gain(full, reduced, horizon), next(left, None)
    if zero is None:
        nothing = np.zeros((horizon, full.heads * full.outputs))
        return PairedSystem(full, reduced, nothing, 0.0, gain, scale)
    change = zero.change(full, reduced, gain).scaled(1 / scale)
    known, error = change.values[:, :, 0], float(change.errors[0])
    return PairedSystem(full, reduced, known, error, gain, scale)


def _twice(matrix: Enclosed, last: float) -> Enclosed:
    """The matrix for the signals and for their changes, and a factor of the channel s."""
    rows, columns = matrix.value.shape
    value = np.zeros((2 * rows + 1, 2 * columns + 1))
    value[:rows, :columns] = value[rows:-1, columns:-1] = matrix.value
    value[-1, -1] = last
    return Enclosed(value, matrix.error)


def _require_same(one: Sequence[Enclosed], other: Sequence[Enclosed]) -> None:
    same = all(np.array_equal(a.value, b.value) for a, b in zip(one, other, strict=True))
    if not same:
        raise NetworksDifferError


def sum_gain(full: DiscreteLTI, reduced: DiscreteLTI, horizon: int) -> float:
    """A bound on the sum over the steps of the norm of the impulse response of G - H."""
    inputs = full.heads * full.inputs
    impulses = Response.of_impulses(Enclosed.identity(inputs), horizon)
    apart = difference(full, reduced, impulses)
    sizes = sum(norm_bound(h) for h in apart.values)
    return float(sizes + apart.errors.sum()) * OUTWARD
