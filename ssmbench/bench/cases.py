"""The operations that `ssmbench bench scans` times: their systems, signals and exact results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.bench import delta, peers, selective
from ssmbench.bench.timing import Candidate
from ssmbench.linalg.powers import power_table
from ssmbench.linalg.precision import to_double
from ssmbench.scans import chunked, chunked_dense
from ssmbench.scans.base import ranked_backends
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    ``forward_bytes`` and ``both_bytes`` (forward and backward) count every input and output once.
    ``exact`` computes the output from leaves in double precision.
    """

    operation: str
    batch: int
    length: int
    channels: int
    states: int
    forward_bytes: int
    both_bytes: int
    candidates: Callable[[torch.device], Mapping[str, Candidate]]
    exact: Callable[[Mapping[str, Tensor]], Tensor]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; one small size each if ``quick``."""
    sizes = [(2, 512)] if quick else [(8, 4096), (8, 16384), (1, 65536)]
    for batch, length in sizes:
        yield _bank_case(batch, length, channels=64, states=32)
    batch, length = sizes[0]
    yield _multichannel_case(batch, length, width=64)
    yield _dense_case(batch, length, width=64)
    yield _dense_bank_case(batch // 2, length, heads=32, states=16 if quick else 64)
    yield selective_case(batch, length, channels=64, states=16)
    if not quick:  # short enough for a loop over time
        yield selective_case(1, 1024, channels=64, states=16)
    yield _delta_case(batch, length, delta.Sizes(groups=4, width=16, keys=16))
    for dtype in (torch.complex64, torch.float32):
        for kind in (Kind(), Kind(reverse=True), Kind(varies=True)):
            yield _states_case(batch, length, 256, dtype, kind)
    yield _bank_case(batch, length, channels=64, states=32, dtype=torch.bfloat16)
    yield _states_case(batch, length, 256, torch.bfloat16, Kind())


def gpu_cases() -> Iterator[Case]:
    """Further sizes, for GPUs only."""
    for batch, length, states in ((8, 16384, 512), (1, 1048576, 64)):
        yield _states_case(batch, length, states, torch.complex64, Kind())
    yield _bank_case(16, 16384, channels=256, states=64)


def _bank_case(
    batch: int, length: int, channels: int, states: int, dtype: torch.dtype = torch.float32
) -> Case:
    half = dtype != torch.float32

    def candidates(device: torch.device) -> dict[str, Candidate]:
        system, u = _bank(channels, states, device), _signal(batch, length, channels, 1, device)
        u = u.detach().to(dtype).requires_grad_()
        ours = _backends(system, u)
        if half:  # the peers are timed in single precision only
            return ours
        fft = Candidate(lambda: fft_convolution(system, u), {**system.tensors(), "u": u})
        mamba = peers.selective_scan(system, u) if device.type == "cuda" else None
        others = {
            "fft convolution": fft,
            "published s4d": peers.s4d(channels, states, u),
            "mamba-ssm selective_scan": mamba,
        }
        return {**ours, **{k: v for k, v in others.items() if v is not None}}

    samples = batch * length * channels
    operation = f"fused diagonal layer, single-channel bank{', bfloat16 input' if half else ''}"
    # forward: u read, y (float32) written; backward: u and dy read, du written
    bytes_ = ((dtype.itemsize + 4) * samples, (3 * dtype.itemsize + 8) * samples)
    return Case(operation, batch, length, channels, states, *bytes_, candidates, _exact_pairs)


def _multichannel_case(batch: int, length: int, width: int) -> Case:
    def candidates(device: torch.device) -> dict[str, Candidate]:
        system, u = _multichannel(width, device), _signal(batch, length, 1, width, device)
        flat = u.detach()[:, :, 0].clone().requires_grad_()
        others = {f"neural-ssm {k}": peers.neural_ssm(flat, width, k) for k in ("lru", "l2n")}
        others["s5-pytorch"] = peers.s5(flat, width)
        return {**_backends(system, u), **{k: v for k, v in others.items() if v is not None}}

    samples = batch * length * width
    operation = "fused diagonal layer, multi-channel"
    bytes_ = (8 * samples, 20 * samples)
    return Case(operation, batch, length, width, width, *bytes_, candidates, _exact_pairs)


def _dense_case(batch: int, length: int, width: int) -> Case:
    def candidates(device: torch.device) -> dict[str, Candidate]:
        system, u = _dense(width, device), _signal(batch, length, 1, width, device)
        flat = u.detach()[:, :, 0].clone().requires_grad_()
        peer = peers.neural_ssm(flat, width, "l2ru")
        return {**_backends(system, u), **({"neural-ssm l2ru, loop": peer} if peer else {})}

    samples = batch * length * width
    bytes_ = (8 * samples, 20 * samples)
    return Case("dense layer", batch, length, width, width, *bytes_, candidates, _exact_dense)


def _dense_bank_case(batch: int, length: int, heads: int, states: int) -> Case:
    def candidates(device: torch.device) -> dict[str, Candidate]:
        system = _dense(states, device, heads, 1)
        return _backends(system, _signal(batch, length, heads, 1, device))

    samples = batch * length * heads
    bytes_ = (8 * samples, 20 * samples)
    operation = "dense single-channel bank"
    return Case(operation, batch, length, heads, states, *bytes_, candidates, _exact_dense)


def _exact_dense(leaves: Mapping[str, Tensor]) -> Tensor:
    system = DiscreteDense(A=leaves["A"], B=leaves["B"], C=leaves["C"], D=leaves["D"])
    return chunked_dense.dense_scan(system, leaves["u"], None)[0]


def selective_case(batch: int, length: int, channels: int, states: int) -> Case:
    """Sampling, scan and read-out of Mamba's layer, from step sizes, B and C at every step."""
    sizes = (batch, length, channels, states)
    # forward: u, dt, B and C read, y written; backward: those and dy read, gradients written
    samples, rows = batch * length * channels, 2 * batch * length * states
    bytes_ = (12 * samples + 4 * rows, 32 * samples + 12 * rows)
    title, candidates = "selective layer, sampled and scanned", partial(selective.candidates, sizes)
    return Case(title, *sizes, *bytes_, candidates, selective.exact)


def _delta_case(batch: int, length: int, sizes: delta.Sizes) -> Case:
    # forward: u, keys, queries and gates read, y written; backward: those and dy read, gradients
    samples, rows = batch * length * sizes.channels, batch * length * sizes.row
    bytes_ = (8 * samples + 4 * rows, 20 * samples + 12 * rows)
    make = partial(delta.candidates, batch, length, sizes)
    title, exact = "delta rule", partial(delta.exact, sizes)
    return Case(title, batch, length, sizes.channels, sizes.keys, *bytes_, make, exact)


@dataclass(frozen=True)
class Kind:
    """Which linear scan: ``a`` constant or time-varying, forward or reverse."""

    varies: bool = False
    reverse: bool = False

    def scan(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """The linear scan of the backend ``name``."""
        backend = registry.scans.get(name).build()
        return lambda a, b: backend.linear_scan(a, b, reverse=self.reverse)

    def title(self, dtype: torch.dtype) -> str:
        """The name of the operation in the table."""
        words = ["complex" if dtype.is_complex else "real"]
        words += ["a varies"] * self.varies + ["reverse"] * self.reverse
        words += ["bfloat16 input"] * (dtype == torch.bfloat16)
        return ", ".join(["linear scan, states written", *words])


def _states_case(batch: int, length: int, states: int, dtype: torch.dtype, kind: Kind) -> Case:
    def candidates(device: torch.device) -> dict[str, Candidate]:
        a, b = _recurrence(batch, length, states, dtype, kind, device)
        leaves = {"a": a, "b": b}
        found = {
            name: Candidate(partial(backend.linear_scan, a, b, reverse=kind.reverse), leaves)
            for name, backend in sorted(ranked_backends().items())
            if backend.linear_scan_unsupported_reason(b) is None
        }
        if kind.reverse or dtype == torch.bfloat16:  # the peers are timed for the plain scan only
            return found
        others = {
            "accelerated-scan": peers.accelerated_scan(a, b),
            "torch associative_scan": peers.associative_scan(a, b),
            "mambapy pscan": peers.mambapy_scan(a, b),
        }
        return {**found, **{k: v for k, v in others.items() if v is not None}}

    def exact(leaves: Mapping[str, Tensor]) -> Tensor:
        return kind.scan("chunked")(leaves["a"], leaves["b"])

    # Forward: b (and a) read, s written; backward: s, ds (and a) read, db (and da) written.
    # s is never in half precision.
    numbers, read = batch * length * states, dtype.itemsize * (2 if kind.varies else 1)
    wide = max(dtype.itemsize, 4)
    forward, backward = read + wide, 2 * wide + dtype.itemsize * (3 if kind.varies else 1)
    bytes_ = (forward * numbers, (forward + backward) * numbers)
    title = kind.title(dtype)
    return Case(title, batch, length, states, states, *bytes_, candidates, exact)


def _exact_pairs(leaves: Mapping[str, Tensor]) -> Tensor:
    matrices = {k: leaves[k] for k in ("lam", "B", "C", "D")}
    system = DiscreteDiagonal(**matrices, conjugate=True)
    return chunked.ChunkedScan(registry.NoOptions())(system, leaves["u"], None)[0]


def _backends(system: DiscreteLTI, u: Tensor) -> dict[str, Candidate]:
    leaves, found = {**system.tensors(), "u": u}, {}
    for name, backend in sorted(ranked_backends().items()):
        if backend.refusal(system, u.device) is None:
            found[name] = Candidate(lambda b=backend: b(system, u, None)[0], leaves)
    return found


def fft_convolution(system: DiscreteDiagonal, u: Tensor) -> Tensor:
    """The convolution mode of S4D, with the kernel from a two-level Vandermonde product.

    L powers computed one by one would make this baseline ten times slower than it needs to be.
    """
    length = u.shape[1]
    step = 2 ** math.ceil(math.log2(max(length, 2)) / 2)
    low = power_table(to_double(system.lam), step + 1)
    high = power_table(low[step], -(-length // step)).to(system.lam.dtype)
    weight = (system.C[:, 0] * system.B[..., 0])[None] * low[:step].to(system.lam.dtype)
    kernel = 2 * torch.einsum("shn,thn->hst", high, weight).real.flatten(1)[:, : length - 1]
    kernel = torch.cat([system.D[:, 0], kernel], 1)
    size = 2 * length
    spectrum = torch.fft.rfft(kernel, size).T * torch.fft.rfft(u[..., 0], size, dim=1)
    return torch.fft.irfft(spectrum, size, dim=1)[:, :length, :, None]


def _bank(channels: int, states: int, device: torch.device) -> DiscreteDiagonal:
    modulus = 1 - 0.1 * torch.rand(channels, states) ** 2
    one = torch.ones(channels, states, 1, dtype=torch.complex64)
    return _leaves(
        DiscreteDiagonal(
            lam=torch.polar(modulus, torch.pi * torch.rand(channels, states)),
            B=one,
            C=torch.randn(channels, 1, states, dtype=torch.complex64) / states,
            D=torch.randn(channels, 1, 1),
            conjugate=True,
        ),
        device,
    )


def _multichannel(width: int, device: torch.device) -> DiscreteDiagonal:
    modulus = 1 - 0.1 * torch.rand(1, width) ** 2
    return _leaves(
        DiscreteDiagonal(
            lam=torch.polar(modulus, torch.pi * torch.rand(1, width)),
            B=torch.randn(1, width, width, dtype=torch.complex64) / width**0.5,
            C=torch.randn(1, width, width, dtype=torch.complex64) / width**0.5,
            D=torch.randn(1, width, width),
            conjugate=True,
        ),
        device,
    )


def _dense(
    width: int, device: torch.device, heads: int = 1, channels: int | None = None
) -> DiscreteDense:
    channels = width if channels is None else channels
    A = torch.linalg.qr(torch.randn(heads, width, width)).Q * 0.99
    shapes = ((width, channels), (channels, width), (channels, channels))
    B, C, D = (torch.randn(heads, *shape) / width**0.5 for shape in shapes)
    return _leaves(DiscreteDense(A=A, B=B, C=C, D=D), device)


def _leaves(system: Any, device: torch.device) -> Any:
    return system.map(lambda t: t.to(device).detach().requires_grad_())


def _signal(batch: int, length: int, heads: int, inputs: int, device: torch.device) -> Tensor:
    return torch.randn(batch, length, heads, inputs, device=device, requires_grad=True)


def _recurrence(
    batch: int, length: int, states: int, dtype: torch.dtype, kind: Kind, device: torch.device
) -> tuple[Tensor, Tensor]:
    shape = (batch, length, states) if kind.varies else (states,)
    modulus = 1 - 0.1 * torch.rand(shape)
    a = torch.polar(modulus, torch.pi * torch.rand(shape)) if dtype.is_complex else modulus
    b = torch.randn(batch, length, states, dtype=dtype)
    return a.to(device, dtype).requires_grad_(), b.to(device).requires_grad_()
