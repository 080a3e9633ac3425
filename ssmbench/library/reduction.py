"""Smaller exponential sums, and smaller systems, from files and arrays."""

from __future__ import annotations

import os
from typing import Any

from ssmbench.reduction.amount import Amount
from ssmbench.reduction.sum_files import load_sum, save_sum
from ssmbench.reduction.sums import ExponentialSum, ReducedSum, reduce_sum


def reduce_exponentials(
    given: str | os.PathLike[str] | tuple[Any, Any],
    tolerance: float | None = None,
    *,
    order: int | None = None,
    share: float | None = None,
    relative: bool = False,
    output: str | os.PathLike[str] | None = None,
) -> ReducedSum:
    """f(t) = sum_k c_k exp(-a_k t) with fewer terms.

    >>> import numpy as np
    >>> import ssmbench as sb
    >>> found = sb.reduce_exponentials((np.linspace(1, 2, 9), np.ones(9)), 1e-3)
    >>> len(found.sum), found.hinf_error <= found.bound <= 1e-3
    (3, True)

    Args:
        given: an ``.npz`` file with the keys a and c, or these two arrays, real or complex (M,).
        tolerance: the largest bound on the H-infinity error; with ``relative``, as a share of the
            largest singular value.
        order: instead, the largest number of terms.
        share: instead, the least share of the terms that is removed.
        output: an ``.npz`` file to write the reduced sum to, with the same keys.

    Returns:
        The sum with its singular values, the bound, and measured errors.

    Raises:
        UsageError: none or several of tolerance, order and share are given; the file or the arrays
            are no such sum; or the output cannot be written.
    """
    amount = Amount(tolerance=tolerance, order=order, share=share, relative=relative)
    whole = ExponentialSum(*given) if isinstance(given, tuple) else load_sum(given)
    found = reduce_sum(whole, amount)
    if output is not None:
        save_sum(output, found.sum)
    return found
