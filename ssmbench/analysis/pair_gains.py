"""Gains to the differences of a network's outputs, which are what decides between classes.

The logits of two classes a and b move against each other by ``(e_a - e_b)' dy``. What is known of
dy bounds that: its norm alone gives sqrt(2) times the gain of the network; the rows w_a and w_b of
an affine decoder give ||w_a - w_b|| times the gain up to the decoder's input; and an ellipsoid
``dy dy' <= S ||du||^2`` gives sqrt((e_a - e_b)' S (e_a - e_b)).

Source: Tsuzuku, Sato & Sugiyama, Lipschitz-Margin Training, NeurIPS 2018, arXiv 1802.04034,
propositions 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

#: Unit roundoff of float64.
_UNIT = torch.finfo(torch.float64).eps / 2


@dataclass(frozen=True, eq=False)
class PairGains:
    """Bounds on incremental l2 gains, float64 on the CPU, rounded up.

    ``matrix`` (K, K): entry (a, b) is of the map from the signal to the difference of the outputs a
    and b; symmetric, with a zero diagonal. ``output_gains`` (K,): of the map to each single output.
    For outputs per step a gain is that to the whole sequence of an output, in l2, and so also
    bounds the change of the output at any one step.

    Raises:
        ValueError: an entry is negative or not finite, the matrix is not symmetric, or its diagonal
            is not zero.
    """

    matrix: Float64[Tensor, "K K"]
    output_gains: Float64[Tensor, " K"]

    def __post_init__(self) -> None:
        for name, values in (("pair", self.matrix), ("output", self.output_gains)):
            if not bool((torch.isfinite(values) & (values >= 0)).all()):
                raise ValueError(f"{name} gains: must be finite and not negative")
        if not torch.equal(self.matrix, self.matrix.mT) or bool(self.matrix.diagonal().any()):
            raise ValueError("pair gains: must be symmetric, with a zero diagonal")

    @classmethod
    def of_gain(cls, gain: float, outputs: int) -> PairGains:
        """From the gain of the whole map to ``outputs`` outputs: sqrt(2) times that."""
        single = torch.full((outputs,), gain, dtype=torch.float64)
        pair = single.expand(outputs, outputs) * (math.sqrt(2) * (1 + 4 * _UNIT))
        return cls(_without_diagonal(pair), single)

    @classmethod
    def of_decoder(cls, gain_before: float, weight: Float[Tensor, "K d"]) -> PairGains:
        """From the gain up to the input of an affine map, and the matrix of that map."""
        rows = weight.detach().cpu().double()
        # the difference, d squares and their sum, the root and the product with the gain
        up = 1 + (rows.shape[1] + 8) * _UNIT
        distances = torch.linalg.vector_norm(rows[:, None] - rows, dim=-1)
        return cls(
            _without_diagonal(distances) * gain_before * up,
            torch.linalg.vector_norm(rows, dim=1) * gain_before * up,
        )

    @classmethod
    def of_ellipsoid(cls, S: Float64[Tensor, "K K"]) -> PairGains:
        """From a matrix with ``|e' dy|^2 <= (e' S e) ||du||^2`` for all e; of one that is not
        symmetric, e' S e reads the symmetric part."""
        S = S.detach().cpu().double()
        squares = S.diagonal()
        terms = squares[:, None] + squares
        cross = S + S.mT
        # A difference of terms: its rounding is relative to the terms, not to the result.
        rounding = 8 * _UNIT * (terms.abs() + S.abs() + S.mT.abs())
        pairs = ((terms - cross + rounding).clamp_min(0).sqrt() * (1 + 4 * _UNIT)).contiguous()
        single = squares.clamp_min(0).sqrt() * (1 + 4 * _UNIT)
        return cls(_without_diagonal(torch.maximum(pairs, pairs.mT)), single)

    def minimum(self, other: PairGains) -> PairGains:
        """The smaller one of two bounds, entry by entry."""
        return PairGains(
            torch.minimum(self.matrix, other.matrix),
            torch.minimum(self.output_gains, other.output_gains),
        )

    def maximum(self, other: PairGains) -> PairGains:
        """The larger one of two bounds, entry by entry."""
        return PairGains(
            torch.maximum(self.matrix, other.matrix),
            torch.maximum(self.output_gains, other.output_gains),
        )

    @property
    def outputs(self) -> int:
        """K, the number of outputs."""
        return len(self.output_gains)


def _without_diagonal(matrix: Float64[Tensor, "K K"]) -> Float64[Tensor, "K K"]:
    return matrix - torch.diag(matrix.diagonal())
