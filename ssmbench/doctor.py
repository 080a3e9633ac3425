"""The checks of ``ssmbench doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ssmbench import registry
from ssmbench.errors import UsageError, one_line
from ssmbench.paths import absolute
from ssmbench.scans import native
from ssmbench.systems import DiscreteDiagonal

PACKAGES = ("torch", "lightning", "torchmetrics", "omegaconf", "tensorboard", "scikit-learn")


@dataclass(frozen=True)
class Check:
    """One check and what it found; ``ok`` is False only if something must be repaired."""

    name: str
    ok: bool
    found: str


def check_installation() -> list[Check]:
    """Run all checks, in the order in which they are shown."""
    checks = [Check("python", True, platform.python_version())]
    checks += [_package(name) for name in PACKAGES]
    checks += [Check("cpu", True, f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}")]
    checks += [Check("gpu", True, _gpu())]
    checks += [Check("scan kernels in C", True, native.unavailable_reason() or "compiled")]
    names = registry.scans.names()
    checks += [_attempt(f"scan {name}", lambda name=name: _scan(name)) for name in names]
    checks += [
        Check(f"{kind} registry", bool(r.names()), f"{len(r.names())} entries")
        for kind, r in registry.KINDS.items()
    ]
    failures = registry.plugin_failures()
    found = "; ".join(f"{f.plugin}: {f.reason}" for f in failures) or "all import"
    checks.append(Check("plugins", not failures, found))
    return [*checks, _data_folder()]


def _data_folder() -> Check:
    named = os.environ.get("SSMBENCH_DATA")
    if not named:
        return Check("data folder", True, "SSMBENCH_DATA is not set: bundled and generated data")
    try:
        folder = absolute(named, "SSMBENCH_DATA")
    except UsageError as error:
        return Check("data folder", False, str(error))
    usable = folder.is_dir()
    return Check("data folder", usable, str(folder) if usable else f"{folder}: no such folder")


def _package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed")


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none: scans run on CPU"


def _scan(name: str) -> str:
    """Compare a scan with the reference on a small system, or report why it cannot run here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    lam = torch.complex(torch.full((2, 3), 0.5), torch.rand(2, 3, generator=generator) / 2)
    one = torch.ones(2, 3, 1)
    system = DiscreteDiagonal(
        lam=lam, B=one, C=one.transpose(1, 2), D=torch.ones(2, 1, 1), conjugate=True
    ).to(device)
    u = torch.randn(1, 40, 2, 1, generator=generator).to(device)
    backend = registry.scans.get(name).build()
    reason = backend.refusal(system, device)
    if reason is not None:
        return f"not usable here: {reason}"
    y, _ = backend(system, u)
    expected, _ = registry.scans.get("reference").build()(system, u)
    error = ((y - expected).abs().max() / expected.abs().max()).item()
    if not error < 1e-5:
        raise ArithmeticError(f"differs from the reference by {error:.1e}")
    return f"agrees with the reference to {error:.0e}"


def _attempt(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:
        return Check(name, False, one_line(error))
