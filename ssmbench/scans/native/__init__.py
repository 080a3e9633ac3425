"""Scans in plain C, compiled when the package is installed where there is a compiler.

Optional: without them the chunked torch scan serves. :func:`unavailable_reason` says why.
"""

from ssmbench.scans.native.common import lanes
from ssmbench.scans.native.delta import delta_layer, scan_delta
from ssmbench.scans.native.dense import dense_layer
from ssmbench.scans.native.fused import fused_layer
from ssmbench.scans.native.library import unavailable_reason
from ssmbench.scans.native.linear_scan import linear_scan
from ssmbench.scans.native.selective import has_selective, scan_selective, selective_layer
from ssmbench.scans.native.systems import is_real, scan_dense, scan_traced

__all__ = [
    "delta_layer",
    "dense_layer",
    "fused_layer",
    "has_selective",
    "is_real",
    "lanes",
    "linear_scan",
    "scan_delta",
    "scan_dense",
    "scan_selective",
    "scan_traced",
    "selective_layer",
    "unavailable_reason",
]
