"""One system of the torture set: exact numbers, and how to hand them to ssmbench."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from ssmbench.systems import (
    ContinuousDense,
    ContinuousDiagonal,
    ContinuousOscillator,
    DiscreteDense,
    DiscreteDiagonal,
    LinearSystem,
)


@dataclass(frozen=True, eq=False)
class Case:
    """A bank of H systems in float64 or complex128.

    A (H, N, N), or the poles (H, N) of a diagonal system; B (H, N, m), C (H, p, N), D (H, p, m).
    conjugate: the diagonal system stores one of each conjugate pair. oscillator: g (H, N) and
    C_v (H, p, N) of x'' + g x' + A x = B u, y = C x + C_v x' + D u, with A (H, N). large: beyond
    mpmath's reach, and well conditioned, so that slycot judges.
    """

    name: str
    discrete: bool
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    conjugate: bool = False
    oscillator: tuple[np.ndarray, np.ndarray] = ()
    large: bool = False

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    @property
    def diagonal(self) -> bool:
        return self.A.ndim == 2 and not self.oscillator

    def arrays(self) -> tuple[np.ndarray, ...]:
        """A, B, C and D; g and C_v of oscillators."""
        return self.A, self.B, self.C, self.D, *self.oscillator

    def digest(self) -> str:
        """Of the very bits, so that a kept value is never used for another system."""
        hashed = hashlib.sha256(f"{self.discrete} {self.conjugate}".encode())
        for array in self.arrays():
            hashed.update(f"{array.shape} {array.dtype}".encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:10]

    def system(self) -> LinearSystem:
        fields = dict(zip("ABCD", map(torch.from_numpy, self.arrays()[:4]), strict=True))
        if not self.discrete:
            fields["dt"] = torch.ones(len(self.A), dtype=torch.float64)
        if self.oscillator:
            g, C_v = map(torch.from_numpy, self.oscillator)
            return ContinuousOscillator(a=fields.pop("A"), g=g, C_v=C_v, **fields)
        if self.diagonal:
            fields = {"lam": fields.pop("A"), **fields}
            kind = DiscreteDiagonal if self.discrete else ContinuousDiagonal
            return kind(conjugate=self.conjugate, **fields)
        return (DiscreteDense if self.discrete else ContinuousDense)(**fields)


def dense_case(name: str, discrete: bool, A, B, C, D, **flags) -> Case:
    """One copy of a dense system; D = 0 stands for zeros that fit."""
    A, B, C = (np.array(x, dtype=np.result_type(np.asarray(x), 0.0), ndmin=2) for x in (A, B, C))
    D = np.zeros((C.shape[0], B.shape[1])) if np.isscalar(D) and D == 0 else np.array(D, ndmin=2)
    D = D.astype(np.result_type(D, 0.0))
    return Case(name, discrete, A[None], B[None], C[None], D[None], **flags)
