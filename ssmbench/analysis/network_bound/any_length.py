"""A bound that holds for sequences of every length, as streams need it.

In coordinates in which the multipliers are 1, the remainders read ``W q`` and the prediction of
each step is ``Z q``, q = (u, v): one linear time-invariant system. Where the H-infinity norm of
``[W; Z / g]`` is at most 1, g is a gain of predictions per step over every length, by the argument
of the bound over a horizon on signals that end; sums over the steps whose weights have norm at most
1, as all poolings have them, have no larger gain. The norm is proved by the bounded-real lemma, and
what the rounding of the composed matrices may add to it by the norm of the resolvent, which is
proved likewise.

The multipliers are those of a bound over a long horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ssmbench.analysis.bounded_real import certify
from ssmbench.analysis.network_bound.bound import network_bound
from ssmbench.analysis.network_bound.enclosed import OUTWARD, Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedBlock, LumpedNetwork, Readout, beside
from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiscreteDense, DiscreteLTI

#: Most states of a network: the proof takes the cube of their number, some dozen times.
_MOST_STATES = 600
#: Frequencies at which the gain is estimated, beside those of the poles.
_FREQUENCIES = 400
#: By how much the estimate is raised, one after another, relatively.
_RAISED = (2e-3, 1e-2, 5e-2, 0.25)


@dataclass(frozen=True)
class AnyLength:
    """``gain``: proved for predictions per step, and for sums over the steps, of sequences of every
    length; infinite for the ``reason`` given."""

    gain: float
    reason: str = ""


def any_length_bound(network: LumpedNetwork, work: float, horizon: int = 1024) -> AnyLength:
    """The bound with the multipliers that so many multiplications find over this horizon."""
    if not all(_is_real(block) for block in network.blocks):
        return AnyLength(math.inf, "a system stores complex numbers without their conjugates")
    states = sum(_states(block) for block in network.blocks)
    if states > _MOST_STATES:
        return AnyLength(math.inf, f"the network has {states} states, of {_MOST_STATES}")
    found = network_bound(replace(network, readout=Readout.steps, lengths=(horizon,)), work)
    if not math.isfinite(found.gain):
        return AnyLength(math.inf, found.reason)
    whole = _composed(network, found.multipliers)
    estimate = whole.gain_at(_angles(whole.system))
    if not math.isfinite(estimate):
        return AnyLength(math.inf, "its multipliers do not hold at every frequency")
    for raised in _RAISED:
        gain = estimate * (1 + raised) + 1e-300
        if whole.is_contraction(gain):
            return AnyLength(gain)
    return AnyLength(math.inf, "no proof succeeds at every frequency")


def _is_real(block: LumpedBlock) -> bool:
    system = block.own_system
    return system is None or not any(t.is_complex() for t in _dense(system))


def _states(block: LumpedBlock) -> int:
    system = block.own_system
    if system is None:
        return 0
    doubled = 2 if getattr(system, "conjugate", False) else 1
    return system.heads * system.states * doubled


def _angles(system: DiscreteDense) -> np.ndarray:
    poles = np.linalg.eigvals(system.A[0].numpy()) if system.states else np.zeros(0)
    return np.concatenate([np.linspace(0, math.pi, _FREQUENCIES), abs(np.angle(poles))])


@dataclass(frozen=True)
class _Whole:
    """``system``: of one head, from q to (W q, Z q), with the first ``remainders`` outputs those of
    W;
    ``errors``: bounds on the spectral norms of what A, B, C and D may be off by."""

    system: DiscreteDense
    remainders: int
    errors: tuple[float, float, float, float]

    def _matrices(self) -> tuple[np.ndarray, ...]:
        s = self.system
        return s.A[0].numpy(), s.B[0].numpy(), s.C[0].numpy(), s.D[0].numpy()

    def gain_at(self, angles: np.ndarray) -> float:
        """The largest gain at some frequencies, not proved; infinite where W has norm 1 or more."""
        A, B, C, D = self._matrices()
        worst = 0.0
        for angle in angles:
            M = C @ np.linalg.solve(np.exp(1j * angle) * np.eye(len(A)) - A, B) + D
            W, Z = M[: self.remainders], M[self.remainders :]
            gram = np.eye(M.shape[1]) - W.conj().T @ W
            if np.linalg.eigvalsh(gram)[0] <= 0:
                return math.inf
            gains = Z @ np.linalg.solve(gram, Z.conj().T)
            worst = max(worst, float(np.linalg.eigvalsh((gains + gains.conj().T) / 2)[-1]))
        return math.sqrt(worst)

    def is_contraction(self, gain: float) -> bool:
        """Whether ``[W; Z / gain]`` is proved to have norm at most 1."""
        factors = torch.ones(self.system.outputs, 1, dtype=torch.float64)
        factors[self.remainders :] = 1 / gain
        scaled = replace(self.system, C=factors * self.system.C, D=factors * self.system.D)
        level = 1 - self._missed(scaled, max(1.0, 1 / gain))
        return level > 0 and _proved(scaled, level)

    def _missed(self, scaled: DiscreteDense, factor: float) -> float:
        """A bound on the norm of what the true system has beside the stored one."""
        B, C, D = (float(torch.linalg.matrix_norm(t[0])) for t in (scaled.B, scaled.C, scaled.D))
        eA, eB, eC, eD = self.errors
        eC, eD = factor * eC + 2 * EPS * C, factor * eD + 2 * EPS * D
        if not self.system.states:
            return eD * OUTWARD
        reach = _resolvent(scaled)
        if not reach * eA < 0.5:
            return math.inf
        true = reach / (1 - reach * eA)
        parts = eC * true * (B + eB) + C * true * eB + C * reach * eA * true * B + eD
        return parts * (1 + 1e-6)


def _resolvent(system: DiscreteDense) -> float:
    """A proved bound on the norm of ``(z I - A)^-1`` on the unit circle; infinite if there is no
    proof, as of unstable systems."""
    n = system.states
    eye = torch.eye(n, dtype=torch.float64)[None]
    bare = replace(system, B=eye, C=eye, D=torch.zeros_like(eye))
    A = system.A[0].numpy()
    if n and abs(np.linalg.eigvals(A)).max() >= 1:
        return math.inf
    sizes = [
        np.linalg.norm(np.linalg.inv(np.exp(1j * angle) * np.eye(n) - A), 2)
        for angle in _angles(system)
    ]
    return float(certify(bare, torch.tensor([max(sizes)], dtype=torch.float64), 0.1)[0])


def _proved(system: DiscreteDense, level: float) -> bool:
    """Whether the H-infinity norm is proved to be at most the level."""
    near = torch.tensor([level * (1 - 1e-4)], dtype=torch.float64)
    found = float(certify(system, near, 1e-4 / (1 - 1e-4) * (1 - 1e-9))[0])
    return found <= level


def _composed(network: LumpedNetwork, T: np.ndarray) -> _Whole:
    """The system in coordinates in which the multipliers are 1."""
    rows, reads = [], []
    x = _Signal(Enclosed.zeros(len(network.encoder.value), 0), network.encoder)
    for block in network.blocks:
        w, own = _through_system(block, x.times(block.before))
        rows += own
        reads.append(w.times(block.read))
        x = x.times(block.skip).plus(w.times(block.through)).beside(block.out)
    outputs = [*reads, x.times(network.decoder)]
    radii = np.concatenate([block.radius for block in network.blocks])
    right = 1 / np.sqrt(np.concatenate([np.ones(network.inputs), T]))
    left = [*np.split(radii * np.sqrt(T), np.cumsum([len(b.radius) for b in network.blocks])[:-1])]
    left += [np.ones(network.outputs)]
    states, count = sum(len(row.states.value) for row in rows), network.columns
    A, eA = _stacked([row.states for row in rows], states)
    B, eB = _stacked([_scaled(row.inputs, None, right) for row in rows], count)
    pairs = list(zip(outputs, left, strict=True))
    C, eC = _stacked([_scaled(y.states, factors, None) for y, factors in pairs], states)
    D, eD = _stacked([_scaled(y.inputs, factors, right) for y, factors in pairs], count)
    system = DiscreteDense(A=A[None], B=B[None], C=C[None], D=D[None])
    return _Whole(system, network.remainders, (eA, eB, eC, eD))


def _scaled(matrix: Enclosed, left: np.ndarray | None, right: np.ndarray | None) -> Enclosed:
    """With factors of its rows and of its first columns."""
    value, size = matrix.value, 1.0
    if left is not None:
        value, size = left[:, None] * value, size * float(left.max(initial=0.0))
    if right is not None:
        used = right[: value.shape[1]]
        value, size = value * used, size * float(used.max(initial=0.0))
    rounding = 8 * EPS * float(np.linalg.norm(value))
    return Enclosed(value, (size * matrix.error + rounding) * OUTWARD)


def _stacked(parts: list[Enclosed], columns: int) -> tuple[Tensor, float]:
    """Rows below one another, filled up with zeros."""
    filled = [np.pad(p.value, ((0, 0), (0, columns - p.value.shape[1]))) for p in parts]
    whole = np.concatenate(filled) if filled else np.zeros((0, columns))
    return torch.from_numpy(whole), math.hypot(*(p.error for p in parts)) * OUTWARD


@dataclass(frozen=True)
class _Signal:
    """A signal as a map of the states so far and of the channels of q so far."""

    states: Enclosed
    inputs: Enclosed

    def times(self, matrix: Enclosed) -> _Signal:
        return _Signal(matrix @ self.states, matrix @ self.inputs)

    def plus(self, other: _Signal) -> _Signal:
        """With what has more states and as many channels."""
        missing = other.states.value.shape[1] - self.states.value.shape[1]
        wide = Enclosed(np.pad(self.states.value, ((0, 0), (0, missing))), self.states.error)
        return _Signal(wide + other.states, self.inputs + other.inputs)

    def beside(self, columns: Enclosed) -> _Signal:
        """With further channels of q."""
        return _Signal(self.states, beside(self.inputs, columns))


def _through_system(block: LumpedBlock, x: _Signal) -> tuple[_Signal, list[_Signal]]:
    """The system's output, and the next states of the system."""
    system = block.own_system
    if system is None:
        return x, []
    A, B, C, D = (_block_diagonal(t) for t in _dense(system))
    before, n = x.states.value.shape[1], len(A.value)
    reached, out = x.times(B), x.times(D)
    following = _Signal(beside(reached.states, A), reached.inputs)
    seen = Enclosed(np.concatenate([np.zeros((len(C.value), before)), C.value], 1))
    wide = Enclosed(np.pad(out.states.value, ((0, 0), (0, n))), out.states.error)
    return _Signal(wide + seen, out.inputs), [following]


def _dense(system: DiscreteLTI) -> tuple[Tensor, ...]:
    dense = system.detach().to("cpu").double().to_dense()
    return dense.A, dense.B, dense.C, dense.D


def _block_diagonal(heads: Tensor) -> Enclosed:
    return Enclosed(torch.block_diag(*heads).numpy())
