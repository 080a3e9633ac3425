"""The response of one system to a sinusoid in steady state, simulated step by step."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg

from ssmbench.analysis.ball.average_supply import Supply
from ssmbench.analysis.delay_margin import matrices_of
from ssmbench.analysis.scaling import FirstOrder
from ssmbench.systems import DiscreteSystem

#: Steps that are simulated.
STEPS = 256


def supplied(system: FirstOrder, supply: Supply, omega: float) -> float:
    """The supply rate per input energy, averaged over a sinusoid: the least over its directions.

    The direction is taken from the transfer matrix; state and input are then stepped together
    from the steady state, and what is averaged are the outputs. Of a system with a pole at the
    frequency it is NaN.
    """
    A, B, C, D = matrices_of(system)
    if math.isinf(omega) or not len(A):
        v = _direction(D, supply)
        return _average((D @ v)[None], v[None], supply)
    discrete = isinstance(system, DiscreteSystem)
    point = _point(omega, discrete=discrete)
    resolvent = _states(A, B, point)
    if resolvent is None:
        return math.nan
    v = _direction(C @ resolvent + D, supply)
    z = np.append(resolvent @ v, 1.0)
    step = np.zeros((len(A) + 1, len(A) + 1), dtype=complex)
    step[:-1, :-1], step[:-1, -1], step[-1, -1] = A, B @ v, point
    if not discrete:
        step = scipy.linalg.expm(step * (0.25 / max(np.linalg.norm(step, 2), 1e-290)))
    states = np.empty((STEPS, len(z)), dtype=complex)
    for k in range(STEPS):
        states[k] = z
        z = step @ z
    inputs = states[:, -1:] * v
    return _average(states[:, :-1] @ C.T + inputs @ D.T, inputs, supply)


def response_terms(system: FirstOrder, omega: float) -> float:
    """The size of the terms whose sum is the response at a frequency; infinite at a pole."""
    A, B, C, D = matrices_of(system)
    direct = float(np.linalg.norm(D))
    if math.isinf(omega) or not len(A):
        return direct
    states = _states(A, B, _point(omega, discrete=isinstance(system, DiscreteSystem)))
    if states is None:
        return math.inf
    return float(np.linalg.norm(C) * np.linalg.norm(states)) + direct


def _point(omega: float, *, discrete: bool) -> complex:
    """Of the plane of z, or of s."""
    return complex(np.exp(1j * omega)) if discrete else 1j * omega


def _states(A: np.ndarray, B: np.ndarray, point: complex) -> np.ndarray | None:
    """The steady states for a sinusoid at each input; None at a pole."""
    try:
        return np.linalg.solve(point * np.eye(len(A)) - A, B)
    except np.linalg.LinAlgError:
        return None


def _direction(G: np.ndarray, supply: Supply) -> np.ndarray:
    adjoint = G.conj().T
    Pi = adjoint @ supply.Q @ G + adjoint @ supply.S + supply.S.conj().T @ G + supply.R
    return np.linalg.eigh((Pi + Pi.conj().T) / 2)[1][:, 0]


def _average(y: np.ndarray, u: np.ndarray, supply: Supply) -> float:
    rate = np.einsum("ti,ij,tj->", y.conj(), supply.Q, y)
    rate += 2 * np.einsum("ti,ij,tj->", y.conj(), supply.S, u)
    rate += np.einsum("ti,ij,tj->", u.conj(), supply.R, u)
    return float(rate.real / np.linalg.norm(u) ** 2)
