"""Scans and layers of other libraries (peers), used if installed; none is a dependency."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssmbench.bench.timing import Candidate
from ssmbench.systems import ContinuousTimeVaryingDiagonal, DiscreteDiagonal


def importable(module: str) -> Any | None:
    """A peer's module, or None if it is missing or cannot be loaded."""
    try:
        return importlib.import_module(module)
    except Exception:
        return None


def neural_ssm(u: Tensor, width: int, kind: str) -> Candidate | None:
    """A cell of `neural-ssm` with N = ``width`` states: l2ru (loop mode), lru, or l2n."""
    package = importable("neural_ssm")
    if package is None:
        return None
    makers: dict[str, Callable[[], torch.nn.Module]] = {
        "l2ru": lambda: package.L2RU(state_features=width, gamma=1.0, init="eye"),
        "lru": lambda: package.LRU(width, width, width),
        "l2n": lambda: package.Block2x2DenseL2SSM(
            d_state=width, d_input=width, d_output=width, gamma=1.0
        ),
    }
    cell = makers[kind]().to(u.device)
    options = {"mode": "loop"} if kind == "l2ru" else {}
    leaves = {"u": u, **dict(cell.named_parameters())}
    return Candidate(lambda: cell(u, **options)[0], leaves, comparable=False)


def selective_scan(system: DiscreteDiagonal, u: Tensor) -> Candidate | None:
    """`mamba-ssm`'s selective scan with constant B, C and step size: the same bank, on CUDA.

    Not comparable: in its output at step k the state already contains u[k], in ours only at k + 1.
    """
    package = importable("mamba_ssm.ops.selective_scan_interface")
    if package is None:
        return None
    signal = u.detach()[..., 0].transpose(1, 2).contiguous()  # (B, H, L)
    values = {
        "u": signal,
        "A": system.lam.detach().log(),  # the scan exponentiates it and doubles Re(C x)
        "B": system.B.detach()[..., 0],
        "C": system.C.detach()[:, 0],
        "D": system.D.detach()[:, 0, 0],
    }
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    delta = torch.ones_like(signal)
    return Candidate(
        lambda: package.selective_scan_fn(
            leaves["u"], delta, *(leaves[name] for name in ("A", "B", "C", "D"))
        ),
        leaves,
        comparable=False,
    )


def s4d(channels: int, states: int, u: Tensor) -> Candidate | None:
    """The published S4D layer (``models/s4/s4d.py`` of state-spaces/s4) without its activation and
    mixing of channels: the kernel's generation, with zoh, and an FFT convolution.

    None for more than 2^29 bytes of powers, which the layer computes one by one and keeps.
    """
    package = importable("models.s4.s4d")
    signal = u.detach()[..., 0].mT.contiguous().requires_grad_()  # (B, H, L)
    if package is None or 8 * channels * states * signal.shape[-1] > 2**29:
        return None
    layer = package.S4D(channels, d_state=2 * states).to(u.device)
    layer.activation = layer.output_linear = torch.nn.Identity()
    leaves = {"u": signal, **dict(layer.named_parameters())}
    return Candidate(lambda: layer(signal)[0], leaves, comparable=False)


def s5(u: Tensor, width: int) -> Candidate | None:
    """The layer of `s5-pytorch` with as many complex states as ``width``; its D is diagonal."""
    package = importable("s5")
    if package is None:
        return None
    layer = package.S5(width, state_width=width).to(u.device)
    leaves = {"u": u, **dict(layer.named_parameters())}
    return Candidate(lambda: layer(u), leaves, comparable=False)


#: Above so many steps of all sequences mamba-ssm's reference takes minutes: its loop over time
#: slices tensors of all states, and the gradient of every slice is one of all states again.
_LONGEST_REFERENCE = 2048


def mamba_reference(system: ContinuousTimeVaryingDiagonal, u: Tensor) -> Candidate | None:
    """`mamba-ssm`'s ``selective_scan_ref``, a loop over time in PyTorch: Euler's B, outputs that
    read the state after the input, hence not comparable; for short sequences only."""
    module = "mamba_ssm.ops.selective_scan_interface"
    package = importable(module) if u.shape[0] * u.shape[1] <= _LONGEST_REFERENCE else None
    if package is None:
        return None
    given = {name: x.detach() for name, x in system.tensors().items()}
    leaves = {
        "u": u.detach()[..., 0].mT,  # (B, H, L)
        "delta": given["dt"].mT,
        "A": given["lam"][0, 0],  # (H, N)
        "B": given["B"][:, :, 0, :, 0].mT,  # (B, N, L)
        "C": given["C"][:, :, 0, 0].mT,
        "D": given["D"][:, 0, 0],
    }
    leaves = {name: x.clone().contiguous().requires_grad_() for name, x in leaves.items()}
    return Candidate(lambda: package.selective_scan_ref(**leaves), leaves, comparable=False)


def mambapy_scan(a: Tensor, b: Tensor) -> Candidate | None:
    """`mambapy`'s parallel scan in PyTorch of a real recurrence, (B, L, N) as N channels."""
    package = importable("mambapy.pscan")
    if package is None or b.is_complex():
        return None

    def run() -> Tensor:
        return package.pscan(a.expand_as(b)[..., None], b[..., None])[..., 0]

    return Candidate(run, {"a": a, "b": b})


def mambapy(system: ContinuousTimeVaryingDiagonal, u: Tensor) -> Candidate | None:
    """`mambapy`'s selective scan, in plain PyTorch: Euler's B, outputs that read the state after
    the input, hence not comparable."""
    package = importable("mambapy.pscan")
    if package is None:
        return None
    leaves = {**system.detach().tensors(), "u": u.detach()}
    leaves = {name: x.clone().requires_grad_() for name, x in leaves.items()}

    def run() -> Tensor:
        dt, signal = leaves["dt"][..., None], leaves["u"]
        gates = torch.exp(dt * leaves["lam"])
        states = package.pscan(gates, dt * leaves["B"][..., 0] * signal)
        read = (states @ leaves["C"][:, :, 0].mT)[..., 0]
        return (read + leaves["D"][:, 0, 0] * signal[..., 0])[..., None]

    return Candidate(run, leaves, comparable=False)


def accelerated_scan(a: Tensor, b: Tensor) -> Candidate | None:
    """`accelerated-scan`'s warp scan: real, (B, N, L), L a power of two, on CUDA."""
    package = importable("accelerated_scan.warp") if b.is_cuda else None
    power = b.shape[1] & (b.shape[1] - 1) == 0
    if package is None or b.is_complex() or not power:
        return None
    gates = a.expand(b.shape[0], b.shape[1], -1).transpose(1, 2).contiguous()
    tokens = b.detach().transpose(1, 2).contiguous().requires_grad_()
    return Candidate(lambda: package.scan(gates, tokens), {"b": tokens}, comparable=False)


def associative_scan(a: Tensor, b: Tensor) -> Candidate | None:
    """PyTorch's higher-order associative scan, run eagerly in its generic mode."""
    module = importable("torch._higher_order_ops.associative_scan")
    if module is None:
        return None

    def combine(left: Any, right: Any) -> Any:
        return left[0] * right[0], left[1] * right[0] + right[1]

    def run() -> Tensor:
        gates = a.expand_as(b)
        return module.generic_associative_scan(
            lambda *flat: combine(flat[: len(flat) // 2], flat[len(flat) // 2 :]), (gates, b), dim=1
        )[1]

    return Candidate(run, {"a": a, "b": b})
