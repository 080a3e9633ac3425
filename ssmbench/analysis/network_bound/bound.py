"""From a lumped network to its proved bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ssmbench.analysis.network_bound.enclosed import OUTWARD, gamma
from ssmbench.analysis.network_bound.lumped import LumpedNetwork, PairedSystem, Readout
from ssmbench.analysis.network_bound.multipliers import Problem, start
from ssmbench.analysis.network_bound.proof import (
    ScaledSpectra,
    largest_eigenvalue,
    prove_steps,
    prove_sums,
)
from ssmbench.analysis.network_bound.responses import (
    WAVE_ERROR,
    Spectrum,
    bin_weights,
    bins,
    compose,
    transform,
    transform_work,
)
from ssmbench.analysis.network_bound.search import search
from ssmbench.linalg.precision import EPS

#: Most entries of the spectra of a network, 16 bytes each.
_MOST_ENTRIES = 1 << 25


@dataclass(frozen=True)
class NetworkBound:
    """``gain``: a proved bound on the incremental l2 gain for every one of ``lengths``, infinite
    for the ``reason`` given.

    ``ellipsoids``: for a prediction p that is a sum over the steps, a matrix S (K, K) for each
    length, such that ``|e' dp|^2 <= e' S e |du|^2`` for every vector e; none for predictions per
    step. ``multipliers`` (n,): those with which it was proved.
    """

    gain: float
    reason: str = ""
    lengths: tuple[int, ...] = ()
    ellipsoids: tuple[np.ndarray, ...] = ()
    multipliers: np.ndarray = field(default_factory=lambda: np.zeros(0))


def network_bound(
    network: LumpedNetwork, work: float, known: np.ndarray | None = None
) -> NetworkBound:
    """The bound that so many multiplications allow: the multipliers are better the more there are.

    The same network and ``work`` give the same bound, up to rounding. With multipliers (n,) that
    are ``known``, of another network of the same form, nothing is searched: it is what they prove.
    """
    needed = _fixed_work(network)
    entries = (
        (bins(network.horizon) // 2 + 1) * (network.remainders + network.outputs) * network.columns
    )
    if needed > work or entries > _MOST_ENTRIES:
        return _none(
            f"the network is too large: {needed / 1e9:.3g}e9 multiplications with "
            f"{entries / 1e6:.3g}e6 numbers, of {work / 1e9:.3g}e9 and {_MOST_ENTRIES / 1e6:.3g}e6"
        )
    with np.errstate(all="ignore"):
        reads, outputs = _spectra(network)
        if not all(np.isfinite(s.values).all() for s in (*reads, outputs)):
            return _none("a response is not finite")
        T = _searched(network, reads, outputs, work - needed) if known is None else known
        return _proved(network, _scaled(network, reads, outputs, T), T)


def _searched(
    network: LumpedNetwork, reads: Sequence[Spectrum], outputs: Spectrum, work: float
) -> np.ndarray:
    problem = _problem(network, reads, outputs)
    first = start(problem, [block.remainders for block in network.blocks])
    return search(problem, first, work)


def _none(reason: str) -> NetworkBound:
    return NetworkBound(math.inf, reason)


def _fixed_work(network: LumpedNetwork) -> float:
    """Multiplications of everything but the search for multipliers."""
    L, c, k = network.horizon, network.columns, network.core
    reads = sum(block.remainders for block in network.blocks) + network.outputs
    systems = sum(_system_work(block.system) for block in network.blocks)
    width = network.decoder.value.shape[1]
    features = 4 * len(network.blocks) * width * width
    proof = 24.0 * k * k * k + 8.0 * reads * k * (k + network.outputs)
    return L * (c * (systems + features) + proof) + transform_work(L) * reads * c


def _system_work(system) -> float:
    if system is None:
        return 0.0
    if isinstance(system, PairedSystem):
        return _system_work(system.full) + 2 * _system_work(system.reduced)
    heads, states = system.heads, system.states
    through = system.inputs + system.outputs
    own = states if system.dynamics.ndim == 3 else 1
    return 4.0 * heads * (states * (own + through) + system.inputs * system.outputs)


def _spectra(network: LumpedNetwork) -> tuple[list[Spectrum], Spectrum]:
    reads, outputs = compose(network)
    spectra = [transform(read) for read in (*reads, outputs)]
    if network.last_norms is not None:
        spectra = [_divided(s, network.inputs - 1, network.last_norms) for s in spectra]
    return spectra[:-1], spectra[-1]


def _divided(spectrum: Spectrum, column: int, norms: np.ndarray) -> Spectrum:
    """The spectrum for a channel that is multiplied by ``norms`` (F,) at each frequency."""
    values, errors = spectrum.values.copy(), spectrum.errors.copy()
    values[:, :, column] /= norms[:, None]
    rounding = EPS * float(np.linalg.norm(values[:, :, column], axis=1).max(initial=0.0))
    errors[column] = (errors[column] / float(norms.min()) + 4 * rounding) * OUTWARD
    return Spectrum(values, errors)


def _problem(network: LumpedNetwork, reads: Sequence[Spectrum], outputs: Spectrum) -> Problem:
    """What the search needs, without errors; for sums over the steps, of the shortest sequence."""
    groups, count = [], 0
    for block in network.blocks:
        groups.append(block.groups + count)
        count += int(block.groups.max(initial=-1)) + 1
    shares = None
    if network.readout is not Readout.steps:
        shares = frequency_shares(network, min(network.lengths))
    W = _stacked(network, reads, [block.radius for block in network.blocks])
    joined = np.concatenate(groups) if groups else np.zeros(0, int)
    return Problem(W, outputs.values, shares, joined, network.inputs)


def _stacked(
    network: LumpedNetwork, reads: Sequence[Spectrum], factors: Sequence[np.ndarray]
) -> np.ndarray:
    """What all remainders read, each row times its factor, (F, n, k)."""
    k, rows = network.core, 0
    W = np.zeros((bins(network.horizon) // 2 + 1, network.remainders, k), complex)
    for read, factor in zip(reads, factors, strict=True):
        if not len(factor):
            continue
        W[:, rows : rows + len(factor), : read.values.shape[2]] = factor[:, None] * read.values
        rows += len(factor)
    return W


def _scaled(
    network: LumpedNetwork, reads: Sequence[Spectrum], outputs: Spectrum, T: np.ndarray
) -> ScaledSpectra:
    """The spectra in coordinates in which the multipliers are 1, with their errors."""
    columns = 1 / np.sqrt(np.concatenate([np.ones(network.inputs), T]))
    sizes = [block.remainders for block in network.blocks]
    roots = np.split(np.sqrt(T), np.cumsum(sizes)[:-1]) if sizes else []
    factors = [b.radius * root for b, root in zip(network.blocks, roots, strict=True)]
    W = _stacked(network, reads, factors)
    W = W * columns[: W.shape[2]]
    Z = outputs.values * columns
    parts = [
        float(factor.max(initial=0.0)) * _weighted(read.errors, columns)
        for read, factor in zip(reads, factors, strict=True)
    ]
    return ScaledSpectra(
        W=W,
        W_error=(math.hypot(*parts) + _rounding(W)) * OUTWARD,
        Z=Z,
        Z_error=(_weighted(outputs.errors, columns) + _rounding(Z)) * OUTWARD,
    )


def _weighted(errors: np.ndarray, columns: np.ndarray) -> float:
    """The norm of the errors of all columns, each times its factor."""
    return float(np.linalg.norm(errors * columns[: len(errors)])) * OUTWARD


def _rounding(scaled: np.ndarray) -> float:
    """What the factors of rows and columns, and their products, may add to an error."""
    return gamma(0) * float(np.sqrt((abs(scaled) ** 2).sum((1, 2)).max(initial=0.0)))


def frequency_shares(network: LumpedNetwork, length: int) -> np.ndarray:
    """The weight (F,) of each frequency in the sum over ``length`` steps, rounded upward: the
    squared transform of the steps' weights, Dirichlet's kernel for a mean, times how often the
    frequency occurs."""
    weights, N = network.readout.weights(length), bins(network.horizon)
    angles = np.outer(np.arange(N // 2 + 1), np.arange(length)) % N
    waves = 2 * np.pi / N * angles
    transformed = np.hypot(np.cos(waves) @ weights, np.sin(waves) @ weights)
    error = 2 * (gamma(length) + WAVE_ERROR) * float(weights.sum())
    return bin_weights(network.horizon) * (transformed + error) ** 2 * OUTWARD


def _proved(network: LumpedNetwork, spectra: ScaledSpectra, T: np.ndarray) -> NetworkBound:
    ellipsoids: list[np.ndarray] = []
    if network.readout is Readout.steps:
        gain = prove_steps(spectra)
    else:
        shares = [frequency_shares(network, length) for length in network.lengths]
        ellipsoids = prove_sums(spectra, shares)
        gain = math.sqrt(max(map(largest_eigenvalue, ellipsoids), default=math.inf)) * OUTWARD
    if not math.isfinite(gain):
        return _none("rounding errors are too large for a proof")
    return NetworkBound(gain, "", network.lengths, tuple(ellipsoids), T)
