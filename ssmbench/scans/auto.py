"""The scan that chooses a backend."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.registry import NoOptions, scans
from ssmbench.scans.base import ScanBackend, Scannable, ranked_backends, rows_for
from ssmbench.systems import SampledModes, TimeVaryingDiagonal

_SAMPLED = TimeVaryingDiagonal  #: the type of a SampledModes once it is sampled


@scans.register("auto")
class AutoScan(ScanBackend):
    """The most preferred backend able to run the system where its tensors are."""

    preference = None
    system_types = Scannable
    takes_shared_rows = True

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self._backends = ranked_backends()

    def choose(self, system: Scannable, device: torch.device) -> ScanBackend:
        """The most preferred backend that can run ``system`` on ``device``.

        Raises:
            UsageError: none can; the message has the reason of each.
        """
        return self._first(lambda backend: backend.refusal(system, device))

    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        backend = self.choose(system, u.device)
        return backend(rows_for(backend, system), u, x0)

    def fuses(self, system: SampledModes, u: Tensor) -> bool:
        """Whether the backend that would be chosen does."""
        backend = self._of_device(system, u.device)
        return backend is not None and backend.samples(system, u)

    def scan_sampled(
        self, system: SampledModes, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        backend = self._of_device(system, u.device)
        assert backend is not None, "asked only where one fuses"
        return backend.scan_sampled(system, u, x0)

    def _of_device(self, system: SampledModes, device: torch.device) -> ScanBackend | None:
        """The most preferred backend for what ``system`` becomes, on ``device``."""
        of_type = (b for b in self._backends.values() if issubclass(_SAMPLED, b.system_types))
        return next((b for b in of_type if not b.unsupported_reason(system, device)), None)

    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        backend = self._first(lambda backend: backend.linear_scan_unsupported_reason(b))
        return backend.linear_scan(a, b, x0, reverse=reverse)

    def _first(self, reason: Callable[[ScanBackend], str | None]) -> ScanBackend:
        reasons = {}
        for name, backend in self._backends.items():
            reasons[name] = reason(backend)
            if reasons[name] is None:
                return backend
        every = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise UsageError(f"scan 'auto': no backend can run this ({every})")
