"""Limited-memory BFGS for many independent maximisations at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

#: Least s'y / (|s| |y|) of a pair that is kept: below, rounding or a convex stretch decides.
_MIN_CURVATURE = 1e-10
#: Along a convex stretch steps grow by this.
_GROW = 2.0
_TINY = 1e-300


class BatchedLBFGS:
    """The inverse Hessians of R functions of n variables that are maximised side by side.

    Each is the identity times a scale until a pair (step, fall of the gradient) is known, then
    the compact form of the last ``memory`` pairs. A pair along which the function is not concave
    is left out, of that row alone.

    Source: Byrd, Nocedal and Schnabel (1994), Math. Programming 63:129, equation 3.1.
    """

    def __init__(self, scale: Float[Tensor, " R"], variables: int, memory: int):
        self._scale, self._memory = scale, memory
        self._steps = self._falls = scale.new_zeros(len(scale), 0, variables)

    def direction(self, gradient: Float[Tensor, "R n"]) -> Float[Tensor, "R n"]:
        """Inverse Hessian times gradient."""
        scale = self._scale[:, None]
        if not self._steps.shape[1]:
            return scale * gradient
        S, Y = self._steps, self._falls
        products = S @ Y.mT
        curvature = torch.diagonal(products, dim1=1, dim2=2)
        R = products.triu() + torch.diag_embed((curvature == 0).to(S))
        along = torch.linalg.solve_triangular(R, S @ gradient[..., None], upper=True)
        inner = curvature[..., None] * along + scale[..., None] * (Y @ (Y.mT @ along))
        inner = inner - scale[..., None] * (Y @ gradient[..., None])
        weights = torch.linalg.solve_triangular(R.mT, inner, upper=False)
        change = S.mT @ weights - scale[..., None] * (Y.mT @ along)
        return scale * gradient + change[..., 0]

    def note(self, step: Float[Tensor, "R n"], fall: Float[Tensor, "R n"]) -> None:
        """Learn from a step, taken or only tried, and how much the gradient fell along it."""
        curvature, square = (step * fall).sum(1), fall.square().sum(1)
        norms = torch.linalg.vector_norm(step, dim=1) * square.sqrt()
        usable = curvature > _MIN_CURVATURE * norms  # never so where it is not a number
        newton = curvature / square.clamp_min(_TINY)
        self._scale = newton.where(usable, self._scale * torch.where(curvature < 0, _GROW, 1.0))
        self._steps = self._with(self._steps, step, usable)
        self._falls = self._with(self._falls, fall, usable)

    def keep(self, rows: Int64[Tensor, " K"]) -> None:
        """Go on with some of the functions."""
        self._scale, self._steps, self._falls = (
            t[rows] for t in (self._scale, self._steps, self._falls)
        )

    def _with(self, kept: Tensor, new: Tensor, usable: Bool[Tensor, " R"]) -> Tensor:
        new = torch.where(usable[:, None], new, 0.0)
        return torch.cat([kept, new[:, None]], 1)[:, -self._memory :]
