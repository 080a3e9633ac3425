"""Conformance checks of tasks: sizes, batches, loss; determinism, order, resuming.

The data are loaded once for all checks, except those that compare two loadings. At most the first
:data:`~ssmbench.testing.task_batches.MAX_SEQUENCES` sequences of a split are read.
"""

from __future__ import annotations

from ssmbench.testing.report import CheckFunction
from ssmbench.testing.task_batches import BATCH_CHECKS
from ssmbench.testing.task_order import ORDER_CHECKS

CHECKS: tuple[CheckFunction, ...] = (*BATCH_CHECKS, *ORDER_CHECKS)
