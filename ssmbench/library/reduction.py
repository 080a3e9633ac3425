"""Smaller exponential sums, and runs with smaller layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.errors import require
from ssmbench.paths import absolute
from ssmbench.reduction.amount import Amount
from ssmbench.reduction.sum_files import load_sum, save_sum
from ssmbench.reduction.sums import ExponentialSum, ReducedSum, reduce_sum

if TYPE_CHECKING:
    from ssmbench.library.runs import Run
    from ssmbench.runs.reducing import RunReduction


def reduce_exponentials(
    given: str | os.PathLike[str] | Sequence[Any],
    tolerance: float | None = None,
    *,
    order: int | None = None,
    share: float | None = None,
    relative: bool = False,
    measured: bool = False,
    output: str | os.PathLike[str] | None = None,
) -> ReducedSum:
    """f(t) = sum_k c_k exp(-a_k t) with fewer terms.

    >>> import numpy as np
    >>> import ssmbench as sb
    >>> found = sb.reduce_exponentials((np.linspace(1, 2, 9), np.ones(9)), 1e-3)
    >>> len(found.sum), f"{found.bound:.1e}", f"{found.hinf_error:.1e}"
    (2, '7.4e-04', '7.4e-04')

    Args:
        given: an ``.npz`` file with the keys a and c, or a pair of these arrays (M,), real or
            complex.
        tolerance: the largest bound on the H-infinity error; with ``relative``, as a share of the
            largest singular value; with ``measured``, the largest error that is measured.
        order: instead, the largest number of terms.
        share: instead, the least share of the terms that is removed.
        output: an ``.npz`` file to write the reduced sum to, with the same keys.

    Returns:
        The sum with its singular values, the bound, and measured errors.

    Raises:
        UsageError: none or several of tolerance, order and share are given; the file or the arrays
            are no such sum; or the output cannot be written.
    """
    amount = Amount(
        tolerance=tolerance, order=order, share=share, relative=relative, measured=measured
    )
    whole = load_sum(given) if isinstance(given, str | os.PathLike) else _pair(given)
    found = reduce_sum(whole, amount)
    if output is not None:
        save_sum(output, found.sum)
    return found


def _pair(given: Sequence[Any]) -> ExponentialSum:
    fits = hasattr(given, "__len__") and len(given) == 2
    require(fits, "the sum must be an .npz file or a pair of arrays, (a, c)")
    return ExponentialSum(*given)


def reduce_run(
    run: Run | str | os.PathLike[str],
    tolerance: float | None = None,
    *,
    order: int | None = None,
    share: float | None = None,
    joint: bool = False,
    relative: bool = False,
    measured: bool = False,
    reducer: str = "balanced_truncation",
    norm: float = 1.0,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> RunReduction:
    """A new run with fewer states in every SSM layer of a trained one, and what that changes.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> found = sb.reduce_run(run, share=0.5, output="smaller")
    >>> found.removed >= 0.5, len(found.layers)
    (True, 1)

    Args:
        run: a trained run, or its folder.
        tolerance: the largest bound on the H-infinity error of each head of each layer; with
            ``relative``, as a share of the layer's largest Hankel singular value; with
            ``measured``, the largest error that is measured.
        order: instead, the largest order of each head.
        share: instead, the least share of each head's order that is removed.
        joint: the share is one of all states of the network; heads of which the prediction depends
            more keep more, up to ``order`` where that is given too.
        reducer: a registered name; see ``list("reducers")``.
        norm: the l2 norm of inputs up to which the change of the prediction is certified and
            attacked, over sequences of the lengths of the task's splits.
        output: the new run's folder, new or empty; by default the run's, with "-reduced" behind.
        force: replace what is in it.

    Raises:
        UsageError: none or several of tolerance, order and share are given; the norm is not
            between 1e-12 and 1e12; a layer cannot be reduced (the message names it): it is
            time-varying, unstable or complex, or starts from a learned state; the samples of the
            task are at uneven times; its data are missing; or the folder is not empty, or is, holds
            or lies in the run's.
    """
    from ssmbench.runs.reduced_layers import ReductionRequest
    from ssmbench.runs.reducing import reduce_run as execute

    given = Path(os.fspath(run)) if isinstance(run, str | os.PathLike) else run.folder
    folder = absolute(given)
    target = absolute(Path(output or folder.with_name(f"{folder.name}-reduced")))
    amount = Amount(
        tolerance=tolerance,
        order=order,
        share=share,
        relative=relative,
        measured=measured,
        joint=joint,
    )
    return execute(folder, ReductionRequest(amount, reducer, norm), target, force=force)
