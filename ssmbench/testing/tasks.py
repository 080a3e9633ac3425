"""The conformance kit's part for tasks: sizes, batches, loss; determinism, order, resuming.

Data are loaded once for all checks but those that compare two loadings, and no more than the first
:data:`~ssmbench.testing.task_batches.MAX_SEQUENCES` of a split are read.
"""

from __future__ import annotations

from ssmbench.testing.report import CheckFunction
from ssmbench.testing.task_batches import BATCH_CHECKS
from ssmbench.testing.task_order import ORDER_CHECKS

CHECKS: tuple[CheckFunction, ...] = (*BATCH_CHECKS, *ORDER_CHECKS)
