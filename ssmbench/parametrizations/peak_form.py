"""A selective layer with an incremental gain on a ball of inputs, whatever the length.

Inputs are projected to the ball |v| <= R first (radially: a map of Lipschitz constant 1). With
gates q = r^2 in [0, 1], in each channel of the values w = v

    x <- (1 - q_w) x + q_w beta w,    y = c' (r_r x),    x <- (1 - q_r) x.

States are convex combinations of what was written, so that |x_n| <= R |beta_n|, whatever the gates
do; and a gate is open by q where the output is weighted by its root r: the energy of a difference
that is read is energy that it loses. docs/certified_variants.md has the proof.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

#: The argument at which the root of the logistic function is steepest, where that is 1/3.
_STEEPEST = -math.log(2)


class Selected(NamedTuple):
    """Affine maps of v for write gate, read gate, beta and c: rows (N, d) and offsets (N,)."""

    weight: Float[Tensor, "four N d"]
    bias: Float[Tensor, "four N"]


class Ranges(NamedTuple):
    """Of one affine map on the ball: its smallest and largest values (N,)."""

    low: Float[Tensor, " N"]
    high: Float[Tensor, " N"]

    def nearest(self, point: float) -> Float[Tensor, " N"]:
        """The value in the range that is nearest to the point."""
        return torch.minimum(torch.maximum(torch.full_like(self.low, point), self.low), self.high)

    def largest_root(self) -> Float[Tensor, " N"]:
        """sup of r = sqrt(sigmoid(z))."""
        return torch.sigmoid(self.high).sqrt()

    def root_slope(self) -> Float[Tensor, " N"]:
        """sup of dr/dz = r (1 - r^2) / 2."""
        q = torch.sigmoid(self.nearest(_STEEPEST))
        return q.sqrt() * (1 - q) / 2

    def largest_tanh(self) -> Float[Tensor, " N"]:
        """sup of |tanh(z)|."""
        return torch.tanh(torch.maximum(self.high.abs(), self.low.abs()))

    def tanh_slope(self) -> Float[Tensor, " N"]:
        """sup of 1 - tanh(z)^2."""
        return 1 - torch.tanh(self.nearest(0.0)).square()


def projected(u: Float[Tensor, "B L d"], radius: float) -> Float[Tensor, "B L 1"]:
    """The factor of each step by which u comes to lie in the ball."""
    norm = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    return radius / norm.clamp_min(radius)


def incremental_gain(selected: Selected, radius: float) -> Float[Tensor, ""]:
    """A bound on the incremental gain of the layer, for sequences of any length.

    With b = |beta| and c at most as they can become on the ball, divided by sqrt(N), and with
    slopes G of gates and vectors as matrices, of spectral norms |.|:

        |c| sqrt((A_w + A_beta + |r_w b|)^2 + A_r^2) + R |b| (|diag(r_r) G_c| + |diag(c) G_r|),
        A_w = 4 R |diag(b) G_w|, A_beta = R |diag(r_w) G_beta|, A_r = 2 R |diag(b) G_r|.
    """
    write, read, beta, c = map(_range, selected.weight, selected.bias, [radius] * 4)
    rows_w, rows_r, rows_b, rows_c = selected.weight
    root = math.sqrt(selected.bias.shape[1])
    b, largest_c = beta.largest_tanh() / root, c.largest_tanh() / root
    steep_w, steep_r = (gate.root_slope() for gate in (write, read))
    r_w, r_r = write.largest_root(), read.largest_root()
    a_w = 4 * radius * _norm(b * steep_w, rows_w)
    a_beta = radius * _norm(r_w * beta.tanh_slope() / root, rows_b)
    a_r = 2 * radius * _norm(b * steep_r, rows_r)
    stored = torch.hypot(a_w + a_beta + _length(r_w * b), a_r)
    of_c = _norm(r_r * c.tanh_slope() / root, rows_c)
    direct = radius * _length(b) * (of_c + _norm(largest_c * steep_r, rows_r))
    return _length(largest_c) * stored + direct


def _range(rows: Float[Tensor, "N d"], bias: Float[Tensor, " N"], radius: float) -> Ranges:
    reach = radius * torch.linalg.vector_norm(rows, dim=1)
    return Ranges(bias - reach, bias + reach)


def _norm(weights: Float[Tensor, " N"], rows: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    return torch.linalg.matrix_norm(weights[:, None] * rows, 2)


def _length(vector: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    return torch.linalg.vector_norm(vector)
