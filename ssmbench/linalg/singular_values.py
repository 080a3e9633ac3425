"""Singular values of matrices, by the method that suits each use."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Bool, Float, Inexact
from torch import Tensor

from ssmbench.linalg.largest_eigenvalue import largest_eigenvalue
from ssmbench.linalg.precision import EPS

#: What a norm is at least that something is divided by.
_SMALLEST_NORM = 1e-12


def sigma_max(G: Inexact[Tensor, "*shape p m"]) -> Float[Tensor, "*shape"]:
    """Largest singular value, by an SVD: accurate to full relative precision, differentiable;
    infinite where an entry is not finite."""
    finite = _is_finite(G)
    G = torch.where(finite[..., None, None], G, 0.0)
    vector = min(G.shape[-2:]) == 1
    norm = torch.linalg.vector_norm(G, dim=(-2, -1)) if vector else torch.linalg.matrix_norm(G, 2)
    return torch.where(finite, norm, torch.inf)


def sigma_max_by_gram(G: Inexact[Tensor, "*shape p m"]) -> Float[Tensor, "*shape"]:
    """Largest singular value, from the smaller Gram matrix: several times as fast as an SVD, with
    the same relative accuracy; infinite where the Gram matrix is not finite."""
    if min(G.shape[-2:]) == 1:
        return torch.linalg.vector_norm(G, dim=(-2, -1))
    gram = G @ G.mH if G.shape[-2] <= G.shape[-1] else G.mH @ G
    finite = _is_finite(gram)
    gram = torch.where(finite[..., None, None], gram, 0.0)
    largest = torch.linalg.eigvalsh(gram)[..., -1].clamp_min(0).sqrt()
    return torch.where(finite, largest, torch.inf)


def _is_finite(matrices: Inexact[Tensor, "*shape p m"]) -> Bool[Tensor, "*shape"]:
    """Whether all entries of each matrix are finite."""
    return matrices.isfinite().all(-1).all(-1)


def sigma_max_of_arrays(G: np.ndarray) -> np.ndarray:
    """:func:`sigma_max_by_gram` of NumPy arrays (..., p, m)."""
    if G.shape[-2] < G.shape[-1]:
        G = G.conj().swapaxes(-1, -2)
    if G.shape[-1] == 1:
        return np.linalg.norm(G, axis=(-2, -1))
    return np.sqrt(np.linalg.eigvalsh(G.conj().swapaxes(-1, -2) @ G)[..., -1].clip(0))


def spectral_norm(weight: Float[Tensor, "out in"]) -> Float[Tensor, ""]:
    """||W||_2 from above, but at least 1e-12 so that it can be divided by.

    In float64, by :func:`~ssmbench.linalg.largest_eigenvalue.largest_eigenvalue` of the smaller
    Gram matrix: the exact norm or up to ``n^(2^-26)`` times it, n the smaller size, which is less
    than a rounding of float32 for n up to 2,900. A step of a training waits for no device.
    """
    exact = weight.double()
    scale = exact.detach().abs().amax().clamp_min(_SMALLEST_NORM)
    W = exact / scale  # its largest entry is 1, and so its norm is at least 1, unless W is zero
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    largest = largest_eigenvalue(gram).clamp_min(0.5) * (1 + W.numel() * EPS)
    return (scale * largest.sqrt()).to(weight.dtype).clamp_min(_SMALLEST_NORM)


def graded_svd(K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, the singular values and V^H of one matrix whose columns and rows decrease in size.

    By QR iteration, which keeps the relative accuracy of the small values of such a matrix; the
    method of NumPy and torch, divide and conquer, knows them only to the rounding of the largest.

    Source: Demmel & Kahan (1990), SIAM J. Sci. Stat. Comput. 11:873.
    """
    U, values, Vh = scipy.linalg.svd(
        K, full_matrices=False, check_finite=False, lapack_driver="gesvd"
    )
    return U, values, Vh
