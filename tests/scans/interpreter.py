"""Triton's interpreter, which runs the kernels on a CPU, with scans that take a row at a time."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

#: Triton reads the variable once, when it is imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
#: Where the tensors of the kernels' tests are.
DEVICE = "cpu" if INTERPRETED else "cuda"


def skip_module_without_kernels() -> None:
    """For modules of tests that launch kernels."""
    if not INTERPRETED and not torch.cuda.is_available():
        pytest.skip(
            "needs a CUDA device; without one test_triton_interpreter.py runs these cases",
            allow_module_level=True,
        )


def scan_by_rows(self: Any, inputs: tuple) -> list:
    """``ScanOps.generic_scan`` of the interpreter, which combines one pair of elements at a time.

    The same operations in the same order, on all elements of a row (those with one index along the
    axis of the scan) at once, give the same result to the bit in a fraction of the time.
    """
    arrays = [np.moveaxis(x.handle.data, self.axis, 0) for x in inputs]
    dtypes = [x.dtype for x in inputs]
    rows = [list(map(self.to_tensor, row, dtypes)) for row in zip(*arrays, strict=True)]
    results = rows[:1]
    for row in rows[1:]:
        results.append(self.combine_fn.fn(*results[-1], *row))
    stacked = (np.stack([x.handle.data for x in part]) for part in zip(*results, strict=True))
    in_place = (np.ascontiguousarray(np.moveaxis(x, 0, self.axis)) for x in stacked)
    return list(map(self.to_tensor, in_place, dtypes))
