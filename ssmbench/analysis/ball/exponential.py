"""The exponential of a matrix, enclosed."""

from __future__ import annotations

import flint
import numpy as np
from flint import acb, acb_mat, arb

from ssmbench.analysis.ball.system import PRECISIONS


def exponential(A: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """e^(A time) as float64 or complex128, and a bound on the error of each entry.

    Args:
        A: (N, N), finite.
        time: the product with A is taken exactly.
    """
    rows, columns = A.shape
    with flint.ctx.workprec(PRECISIONS[0]):
        entries = [acb(complex(x)) * arb(time) for x in np.ravel(A).tolist()]
        exact = acb_mat(rows, columns, entries).exp()
        about = np.array([complex(x) for x in exact.entries()]).reshape(rows, columns)
        about = about if np.iscomplexobj(A) else np.real(about)
        errors = [
            float(abs(x - acb(complex(y))).upper()) * (1 + 1e-15)
            for x, y in zip(exact.entries(), about.ravel(), strict=True)
        ]
    return about, np.array(errors).reshape(rows, columns)
