"""The largest eigenvalue of a positive semidefinite matrix, from above, without a decomposition.

``||M^q||_F^(1/q)`` is at least the largest eigenvalue of M, and at most n^(1 / 2q) times it. With
q = 2^24, reached by 24 squarings, the factor is below 1.2e-7, one rounding of float32, for n up to
2,900; there is nothing to converge, so that the host need not look at a number. Eigenvalues by
LAPACK or cuSOLVER are copied to the host, or checked there, which waits for a GPU.

Source: the power method in the squared form (Wilkinson 1965, The Algebraic Eigenvalue Problem,
section 9.36); the Schatten norms of M bound it from above.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from ssmbench.linalg.precision import EPS, straight_through
from ssmbench.transforms import functorch_active

SQUARINGS = 24
#: Squarings between two rescalings: the trace falls to n^-63 at most, which float64 holds.
_BETWEEN = 6
#: A scale that is positive, and below every trace: zero stays zero.
_LEAST = 1e-300


def largest_eigenvalue(M: Float[Tensor, "n n"], squarings: int = SQUARINGS) -> Float[Tensor, ""]:
    """An upper bound of the largest eigenvalue of a symmetric, positive semidefinite M in float64:
    at most ``n^(2^-(s + 1))`` times it, and rounding, for s ``squarings``, a multiple of six.

    The gradient is the projector onto its eigenvectors, divided by their number where several
    belong to it. NaN where an entry of M is not finite. A second derivative, and derivatives by
    ``torch.func``, are those of ``torch.linalg.eigvalsh``.

    >>> round(float(largest_eigenvalue(torch.tensor([[5.0, 4.0], [4.0, 5.0]]).double())), 6)
    9.0
    """
    if functorch_active() or forward_ad._current_level >= 0:
        return torch.linalg.eigvalsh(M)[-1]
    if torch.compiler.is_compiling():
        bound, projector = _powers(M.detach(), squarings)
        return straight_through((projector * M).sum(), bound)
    return _LargestEigenvalue.apply(M, squarings)


class _LargestEigenvalue(torch.autograd.Function):
    """:func:`largest_eigenvalue`; its backward pass has the projector already."""

    @staticmethod
    def forward(ctx: Any, M: Tensor, squarings: int) -> Tensor:
        bound, projector = _powers(M, squarings)
        ctx.save_for_backward(M, projector)
        return bound

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        M, projector = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again
            exact = torch.linalg.eigvalsh(M)[-1]
            return torch.autograd.grad(exact, M, gradients[0], create_graph=True)[0], None
        return gradients[0] * projector, None


def _powers(
    M: Float[Tensor, "n n"], squarings: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "n n"]]:
    """The bound, and the last power of M divided by its trace."""
    value = M.trace().clamp_min(_LEAST)
    power = M / value
    for done in range(_BETWEEN, squarings + 1, _BETWEEN):
        power = torch.linalg.matrix_power(power, 2**_BETWEEN)
        trace = power.trace().clamp_min(_LEAST)
        power, value = power / trace, value * trace.pow(2.0**-done)
    size = torch.linalg.vector_norm(power)
    return value * size.pow(2.0**-squarings) * (1 + _rounding(len(M))), power


def _rounding(n: int) -> float:
    """A bound on the relative error of the powers: a squaring loses n EPS ||A||_F^2, which is at
    most n^2 EPS of the largest eigenvalue's square, and the j-th counts as a 2^-j-th root."""
    return 4 * (n * n + 8) * EPS
