"""Smaller systems with a bound on the error: reducers of the systems of layers (a registered kind),
and exponential sums.

    reducer = registry.reducers.get("balanced_truncation").build()
    found = reducer.reduce(system, Amount(tolerance=1e-3))
    found.system, found.orders, found.bound, found.hinf_error
"""

from ssmbench.reduction.amount import Amount
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.reduction.errors import difference, proved_error
from ssmbench.reduction.recorded import RecordedInputs
from ssmbench.reduction.result import Reduction

__all__ = [
    "Amount",
    "Prepared",
    "RecordedInputs",
    "Reducer",
    "Reduction",
    "difference",
    "proved_error",
]
