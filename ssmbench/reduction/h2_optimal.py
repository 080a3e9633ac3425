"""Refinement of balanced truncation towards the smallest H2 error of its order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssmbench.options import POSITIVE_COUNT, option
from ssmbench.reduction.balanced_form import BalancedForm
from ssmbench.reduction.balanced_truncation import Truncated
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.reduction.errors import measured_errors
from ssmbench.registry import reducers
from ssmbench.systems import DiscreteDense, DiscreteLTI

#: Change of the reduced poles at which the iteration has settled.
_SETTLED = 1e-9

#: What scipy calls a solve with the conjugate transpose.
_ADJOINT = 2

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class H2OptimalConfig:
    """``steps``: iterations after which a head that has not settled is taken as it is."""

    steps: int = option(50, POSITIVE_COUNT)


@dataclass(frozen=True)
class Refined(Prepared):
    """Balanced truncation, refined head by head where that helps.

    A head is refined only if its H2 error falls and its H-infinity error, measured in float64, is
    still within the bound of balanced truncation, which for a refined head is thus no theorem.
    """

    given: DiscreteLTI
    balanced: BalancedForm
    bounds: Float[Tensor, "H n_plus_1"]
    steps: int

    @property
    def losses(self) -> Float[Tensor, "H n_plus_1"]:
        return torch.where(self.bounds.isfinite(), self.balanced.largest_removed(), torch.inf)

    def at(self, orders: Int[Tensor, " H"]) -> DiscreteDense:
        start = Truncated(self.balanced, self.bounds).at(orders)
        found = start.map(torch.clone)
        for head, order in enumerate(orders.tolist()):
            rank = int(self.balanced.ranks[head])
            if 0 < order < rank:
                whole = _arrays(self.balanced.system, head, rank)
                refined = refine(whole, _arrays(start, head, order), self.steps)
                _place(found, head, refined)
        better = self._is_better(found, start, orders)[:, None, None]
        return DiscreteDense(
            A=torch.where(better, found.A, start.A),
            B=torch.where(better, found.B, start.B),
            C=torch.where(better, found.C, start.C),
            D=start.D,
        )

    def _is_better(
        self, found: DiscreteDense, start: DiscreteDense, orders: Int[Tensor, " H"]
    ) -> Bool[Tensor, " H"]:
        hinf, h2 = measured_errors(self.given, found)
        bound = self.bounds.gather(1, orders[:, None])[:, 0]
        return (h2 < measured_errors(self.given, start)[1]) & (hinf <= bound)


@reducers.register(
    "h2_optimal",
    config=H2OptimalConfig,
    citation="Gugercin, Antoulas and Beattie 2008; discrete time: Bunse-Gerstner et al. 2010",
)
class H2Optimal(Reducer):
    """Balanced truncation, refined to a stationary point of the H2 error where that makes it
    smaller within the same bound."""

    proves_bounds = False  # of a refined head it is measured

    config: H2OptimalConfig

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        return Refined(system, balanced, balanced.tail_bounds(), self.config.steps)


def _arrays(system: DiscreteDense, head: int, order: int) -> Arrays:
    A, B, C = (t[head].cpu().numpy() for t in (system.A, system.B, system.C))
    return A[:order, :order], B[:order], C[:, :order]


def _place(system: DiscreteDense, head: int, matrices: Arrays) -> None:
    """Write the matrices over the first states of a head."""
    A, B, C = (torch.from_numpy(m).to(system.A) for m in matrices)
    order = len(A)
    system.A[head, :order, :order], system.B[head, :order] = A, B
    system.C[head, :, :order] = C


def refine(whole: Arrays, start: Arrays, steps: int) -> Arrays:
    """The iterate of smallest H2 error on the way from ``start`` to a stationary point of it.

    At such a point the reduced system and the given one agree, along the directions of each reduced
    mode, at the mirror image 1 / conj(lam) of its pole, in value and in slope. Each step
    interpolates at the mirror images of the last poles; real systems stay real.

    Source: Gugercin, Antoulas & Beattie (2008), SIAM J. Matrix Anal. Appl. 30:609 (IRKA);
        Bunse-Gerstner, Kubalinska, Vossen & Wilczek (2010), J. Comput. Appl. Math. 233:1202.
    """
    form = _Triangular.of(whole)
    best, least = start, np.inf
    current, poles = start, np.full(len(start[0]), np.inf)
    for _ in range(steps):
        try:
            modes = _Modes.of(current)
            columns = form.inputs(modes)
            energy = modes.energy() - 2 * np.vdot(modes.C, form.C @ form.rotated(columns)).real
            if np.abs(modes.lam).max() < 1 and energy < least:
                best, least = current, energy
            right, left = (form.basis(modes, part) for part in (columns, form.outputs(modes)))
            current = _projected(whole, right, left)
        except np.linalg.LinAlgError:
            break
        if not all(np.isfinite(m).all() for m in current):
            break
        last, poles = poles, np.sort_complex(modes.lam)
        if np.abs(poles - last).max() <= _SETTLED:
            break
    return best


@dataclass(frozen=True)
class _Modes:
    """The reduced system by its modes: lam (r,), B (r, m), C (p, r)."""

    lam: np.ndarray
    B: np.ndarray
    C: np.ndarray

    @staticmethod
    def of(system: Arrays) -> _Modes:
        lam, X = np.linalg.eig(system[0])
        return _Modes(lam, np.linalg.solve(X, system[1]), system[2] @ X)

    def energy(self) -> float:
        """The square of the H2 norm."""
        inputs, outputs = self.B @ self.B.conj().T, self.C.conj().T @ self.C
        return float((outputs.T * inputs / (1 - np.outer(self.lam, self.lam.conj()))).sum().real)


def _projected(whole: Arrays, right: np.ndarray, left: np.ndarray) -> Arrays:
    """The system on the span of ``right``, along the complement of that of ``left``."""
    A, B, C = whole
    right, left = np.linalg.qr(right)[0], np.linalg.qr(left)[0]
    meet = left.conj().T @ right
    A_small, B_small = (np.linalg.solve(meet, left.conj().T @ part) for part in (A @ right, B))
    return A_small, B_small, C @ right


@dataclass(frozen=True)
class _Triangular:
    """The given system with A = Q T Q^H, T triangular, so that a solve takes n^2 steps."""

    Q: np.ndarray
    T: np.ndarray
    B: np.ndarray
    C: np.ndarray
    real: bool

    @staticmethod
    def of(whole: Arrays) -> _Triangular:
        A, B, C = whole
        T, Q = scipy.linalg.schur(A, output="complex")[:2]
        return _Triangular(Q, T, Q.conj().T @ B, C @ Q, np.isrealobj(A))

    def inputs(self, modes: _Modes) -> np.ndarray:
        """(I - conj(lam_i) A)^-1 B conj(b_i) for each reduced mode, as columns."""
        return self._solved(modes, self.B @ modes.B.conj().T)

    def outputs(self, modes: _Modes) -> np.ndarray:
        """(I - lam_i A^H)^-1 C^H c_i for each reduced mode, as columns."""
        return self._solved(modes, self.C.conj().T @ modes.C, trans=_ADJOINT)

    def _solved(self, modes: _Modes, right: np.ndarray, trans: int = 0) -> np.ndarray:
        eye = np.eye(len(self.T))
        columns = [
            scipy.linalg.solve_triangular(eye - z.conj() * self.T, column, trans=trans)
            for z, column in zip(modes.lam, right.T, strict=True)
        ]
        return self.Q @ np.stack(columns, 1)

    def rotated(self, columns: np.ndarray) -> np.ndarray:
        """The columns in the coordinates of T."""
        return self.Q.conj().T @ columns

    def basis(self, modes: _Modes, columns: np.ndarray) -> np.ndarray:
        """Real and imaginary part in place of each two conjugate columns of a real system."""
        if not self.real:
            return columns
        return np.where(np.imag(modes.lam) < 0, np.imag(columns), np.real(columns))
