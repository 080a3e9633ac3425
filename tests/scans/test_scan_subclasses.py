"""Subclasses of scans and of systems keep what they override where a scan also samples."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ssmbench.nn.sampling import sampled_by_scan
from ssmbench.registry import NoOptions
from ssmbench.scans import native
from ssmbench.scans.auto import AutoScan
from ssmbench.scans.base import ScanBackend
from ssmbench.scans.cpu import CPUScan
from ssmbench.systems import ContinuousTimeVaryingDiagonal, Readout
from tests.builders import build_layer
from tests.scans.test_selective import METHODS, compiled, system_of


class OwnCall(CPUScan):
    def __call__(self, system, u, x0=None):
        y, final = super().__call__(system, u, x0)
        return 2 * y, final


class OwnLinearScan(CPUScan):
    def linear_scan(self, a, b, x0=None, *, reverse=False):
        return 2 * super().linear_scan(a, b, x0, reverse=reverse)


class OwnLinearScanBelow(OwnLinearScan):
    pass


def output_of(scan: ScanBackend) -> Tensor:
    torch.manual_seed(0)
    layer = build_layer("selective", "zoh", d_model=6)
    with torch.no_grad():
        layer.parametrization.D.zero_()
    layer.scan = scan
    return layer(torch.ones(1, 5, 6))


@compiled
@pytest.mark.parametrize("own", [OwnCall, OwnLinearScan, OwnLinearScanBelow])
def test_methods_that_a_subclass_of_a_backend_overrides_are_run(own, monkeypatch):
    expected, scan = 2 * output_of(CPUScan(NoOptions())), own(NoOptions())
    torch.testing.assert_close(output_of(scan), expected)
    monkeypatch.setattr("ssmbench.scans.auto.ranked_backends", lambda: {"own": scan})
    torch.testing.assert_close(output_of(AutoScan(NoOptions())), expected)


@compiled
def test_a_subclass_that_overrides_the_fused_scan_too_keeps_it():
    class Own(OwnCall):
        scan_sampled = CPUScan.scan_sampled

    class Renamed(CPUScan):
        pass

    for kind in (Own, Renamed):
        torch.testing.assert_close(output_of(kind(NoOptions())), output_of(CPUScan(NoOptions())))


@dataclass(frozen=True, kw_only=True)
class WithOneMoreField(ContinuousTimeVaryingDiagonal):
    label: str


def test_a_system_of_a_subclass_is_sampled_by_the_method():
    system = system_of(3, 2, 2, True, torch.float32)
    fields = {f.name: getattr(system, f.name) for f in dataclasses.fields(system)}
    other = WithOneMoreField(**fields, label="mine")
    scan, u = CPUScan(NoOptions()), torch.ones(2, 3, 2, 1)
    found = [sampled_by_scan(s, METHODS["zoh"], Readout.before, scan, u) for s in (system, other)]
    assert [one is None for one in found] == [native.unavailable_reason() is not None, True]
