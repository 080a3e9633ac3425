"""The selective layer that `ssmbench bench scans` times: Mamba's, at its start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssmbench import registry
from ssmbench.bench import peers
from ssmbench.bench.timing import Candidate
from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.sampling import sampled_by_scan
from ssmbench.scans.base import ScanBackend, ranked_backends
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.systems import ContinuousTimeVaryingDiagonal, Readout, SampledModes


def candidates(sizes: tuple[int, int, int, int], device: torch.device) -> dict[str, Candidate]:
    """Every backend that can, and peers if they are installed; ``sizes``: B, L, H, N."""
    system, u = _system(*sizes, device)
    leaves = {**system.tensors(), "u": u}
    rule = _method().sampling()
    assert rule is not None, "zoh has one"
    sampled = SampledModes.of(system, rule, Readout.before)
    found = {
        name: Candidate(partial(_scanned, backend, system, u), leaves)
        for name, backend in sorted(ranked_backends().items())
        if backend.unsupported_reason(sampled, device) is None
    }
    others = {
        "mambapy": peers.mambapy(system, u),
        "mamba-ssm selective_scan_ref": peers.mamba_reference(system, u),
    }
    return {**found, **{name: peer for name, peer in others.items() if peer is not None}}


def exact(leaves: Mapping[str, Tensor]) -> Tensor:
    """The output, sampled by the discretizer's own formulas.

    A sequence at a time, and again in the backward pass: all of them keep some ten gigabytes.
    """
    lam, D = leaves["lam"], leaves["D"]
    sequences = zip(*(leaves[name].split(1) for name in ("B", "C", "dt", "u")), strict=True)
    each = [checkpoint(_exact_of, lam, D, *one, use_reentrant=False) for one in sequences]
    return torch.cat(each)


def _exact_of(lam: Tensor, D: Tensor, B: Tensor, C: Tensor, dt: Tensor, u: Tensor) -> Tensor:
    discrete = _method()(ContinuousTimeVaryingDiagonal(lam=lam, B=B, C=C, D=D, dt=dt))
    return ChunkedScan(registry.NoOptions())(discrete, u, None)[0]


def _method() -> Discretizer:
    return registry.discretizers.get("zoh").build()


def _scanned(backend: ScanBackend, system: ContinuousTimeVaryingDiagonal, u: Tensor) -> Tensor:
    """As a layer runs it: in one pass where the backend has one."""
    method = _method()
    fused = sampled_by_scan(system, method, Readout.before, backend, u)
    return backend(method(system), u)[0] if fused is None else backend.scan_sampled(fused, u)[0]


def _system(
    batch: int, length: int, channels: int, states: int, device: torch.device
) -> tuple[ContinuousTimeVaryingDiagonal, Tensor]:
    modes = torch.arange(1.0, states + 1).expand(1, 1, channels, states)
    system = ContinuousTimeVaryingDiagonal(
        lam=-modes.clone(),
        B=torch.randn(batch, length, 1, states, 1),
        C=torch.randn(batch, length, 1, 1, states),
        D=torch.ones(channels, 1, 1),
        dt=1e-3 * 100 ** torch.rand(batch, length, channels),
    )
    u = torch.randn(batch, length, channels, 1, device=device, requires_grad=True)
    return system.map(lambda t: t.to(device).detach().requires_grad_()), u
