"""The scan that chooses a backend."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.registry import NoOptions, scans
from ssmbench.scans.base import ScanBackend, Scannable

#: Fastest first; the last one runs everything.
PREFERENCE = ("triton", "cpu", "chunked")


@scans.register("auto")
class AutoScan(ScanBackend):
    """The fastest backend able to run the system where its tensors are."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self._backends = [scans.get(name).build() for name in PREFERENCE]

    def choose(self, system: Scannable, device: torch.device) -> ScanBackend:
        """The first backend of :data:`PREFERENCE` that is able."""
        able = (b for b in self._backends if b.unsupported_reason(system, device) is None)
        return next(able, self._backends[-1])

    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.choose(system, u.device)(system, u, x0)

    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        able = (x for x in self._backends if x.linear_scan_unsupported_reason(b) is None)
        return next(able, self._backends[-1]).linear_scan(a, b, x0, reverse=reverse)
