"""Systems with known or independently computed gains, for the tests of the analysis."""

from __future__ import annotations

import numpy as np
import torch

from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    DiscreteDense,
    DiscreteDiagonal,
    LinearSystem,
)


def dense(A, B, C, D, *, discrete: bool) -> LinearSystem:
    """One copy from matrices."""
    matrices = {
        name: _tensor(np.atleast_2d(value))[None]
        for name, value in {"A": A, "B": B, "C": C, "D": D}.items()
    }
    if discrete:
        return DiscreteDense(**matrices)
    return ContinuousDense(dt=torch.ones(1, dtype=torch.float64), **matrices)


def diagonal(lam, B, C, D, *, discrete: bool, conjugate: bool = False) -> LinearSystem:
    """A bank from arrays lam (H, N), B (H, N, m), C (H, p, N), D (H, p, m)."""
    tensors = {name: _tensor(value) for name, value in {"lam": lam, "B": B, "C": C, "D": D}.items()}
    if discrete:
        return DiscreteDiagonal(conjugate=conjugate, **tensors)
    dt = torch.ones(len(tensors["lam"]), dtype=torch.float64)
    return ContinuousDiagonal(dt=dt, conjugate=conjugate, **tensors)


def _tensor(value) -> torch.Tensor:
    value = np.asarray(value)
    return torch.from_numpy(value.astype(complex if np.iscomplexobj(value) else float))


def random_matrices(
    rng: np.random.Generator,
    states: int,
    inputs: int,
    outputs: int,
    *,
    gap: float,
    discrete: bool,
    complex_: bool = False,
) -> tuple[np.ndarray, ...]:
    """Stable (A, B, C, D) whose least stable pole lies ``gap`` inside the boundary."""

    def draw(*shape: int) -> np.ndarray:
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_ else real

    A = draw(states, states)
    poles = np.linalg.eigvals(A)
    if discrete:
        A = A * (1 - gap) / np.abs(poles).max()
    else:
        A = A - (poles.real.max() + gap) * np.eye(states)
    D = draw(outputs, inputs) * rng.choice([0.0, 1.0, 10.0])
    return A, draw(states, inputs), draw(outputs, states), D


def random_bank(
    rng: np.random.Generator,
    heads: int,
    states: int,
    *,
    discrete: bool,
    conjugate: bool,
    log_gaps: tuple[float, float] = (-6.0, -0.1),
    spread: float = np.pi,
    inputs: int = 1,
    outputs: int = 1,
) -> LinearSystem:
    """A diagonal bank, gaps log-uniform, pole frequencies within ``spread``, residues ~ gap."""
    gaps = 10 ** rng.uniform(*log_gaps, (heads, states))
    centre = rng.uniform(0, np.pi - spread, (heads, 1)) if spread < np.pi else 0.0
    angles = centre + rng.uniform(0, spread, (heads, states))
    if not conjugate:
        angles = 2 * angles - np.pi
    lam = (1 - gaps) * np.exp(1j * angles) if discrete else -gaps + 3j * angles

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    D = rng.standard_normal((heads, outputs, inputs))
    B, C = draw(heads, states, inputs), draw(heads, outputs, states) * gaps[:, None, :]
    return diagonal(lam, B, C, D, discrete=discrete, conjugate=conjugate)


def resonator(frequency: float, damping: float) -> LinearSystem:
    """w0^2 / (s^2 + 2 zeta w0 s + w0^2): peak 1 / (2 zeta sqrt(1 - zeta^2))."""
    A = [[0.0, 1.0], [-(frequency**2), -2 * damping * frequency]]
    return dense(A, [[0.0], [frequency**2]], [[1.0, 0.0]], [[0.0]], discrete=False)
