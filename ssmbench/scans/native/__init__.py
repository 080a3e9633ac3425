"""Scans in plain C, compiled when the package is installed where there is a compiler.

Optional: without them the chunked torch scan serves. :func:`why_missing` says why.
"""

from ssmbench.scans.native.common import lanes
from ssmbench.scans.native.dense import dense_layer
from ssmbench.scans.native.fused import fused_layer
from ssmbench.scans.native.library import why_missing
from ssmbench.scans.native.linear_scan import linear_scan

__all__ = ["dense_layer", "fused_layer", "lanes", "linear_scan", "why_missing"]
