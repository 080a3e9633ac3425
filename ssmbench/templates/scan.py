import torch
from torch import Tensor

from ssmbench.registry import scans
from ssmbench.scans.base import (
    ScanBackend,
    Scannable,
    scan_through_states,
    time_varying_scan,
    widening,
)
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, TimeVaryingDiagonal


@scans.register("doubling", citation="Hillis and Steele 1986, Comm. ACM 29:1170")
class Doubling(ScanBackend):
    """Parallel prefix by doubling: log2(L) passes over the sequence, in plain PyTorch."""

    def unsupported_reason(self, system: Scannable, device: torch.device) -> str | None:
        return "only diagonal systems" if isinstance(system, DiscreteDense) else None

    @widening  # half precision is computed in float32
    def __call__(
        self, system: Scannable, u: Tensor, x0: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(system, TimeVaryingDiagonal):
            return time_varying_scan(system, u, x0, self.linear_scan)
        assert isinstance(system, DiscreteDiagonal)
        return scan_through_states(system, u, x0, self.linear_scan)

    @widening
    def linear_scan(
        self, a: Tensor, b: Tensor, x0: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """s[k] = a[k] s[k-1] + b[k]; a is (N,) or (B, L, N), b (B, L, N), x0 (B, N)."""
        a = a.expand_as(b)
        if reverse:
            return self.linear_scan(a.flip(1), b.flip(1), x0).flip(1)
        if x0 is not None:
            b = torch.cat([b[:, :1] + a[:, :1] * x0[:, None], b[:, 1:]], 1)
        step = 1
        while step < b.shape[1]:
            b = torch.cat([b[:, :step], b[:, step:] + a[:, step:] * b[:, :-step]], 1)
            a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], 1)
            step *= 2
        return b
