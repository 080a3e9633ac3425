"""What the tests of the kernels have in common."""

from __future__ import annotations

import pytest
import torch

from tests.scans.interpreter import INTERPRETED, scan_by_rows


@pytest.fixture
def interpreted_by_rows(monkeypatch):
    """Scans in Triton's interpreter take a row at a time; gives the method that this replaces."""
    if not INTERPRETED:
        return None
    from triton.runtime.interpreter import ScanOps

    replaced = ScanOps.generic_scan
    monkeypatch.setattr(ScanOps, "generic_scan", scan_by_rows)
    return replaced


@pytest.fixture
def fresh_memory_is_nan(monkeypatch):
    """An output that a kernel leaves unwritten must not look like a number."""
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, _filled_with_nan(getattr(torch, name)))


def _filled_with_nan(allocate):
    def allocate_nan(*args, **kwargs):
        tensor = allocate(*args, **kwargs)
        inexact = tensor.is_floating_point() or tensor.is_complex()
        return tensor.fill_(float("nan")) if inexact else tensor

    return allocate_nan
