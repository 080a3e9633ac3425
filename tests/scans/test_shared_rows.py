"""Time-varying systems of which several heads share rows: the same answers as of the expanded ones,
and memory for a row once."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse_frozen
from ssmbench.bench.timing import kept_bytes
from ssmbench.errors import ShapeError
from ssmbench.nn.states import reading_states
from ssmbench.registry import NoOptions
from ssmbench.scans.auto import AutoScan
from ssmbench.scans.base import scan_by_parts
from ssmbench.scans.cpu import CPUScan
from ssmbench.systems import (
    ElementwiseRule,
    Readout,
    Rule,
    SampledModes,
    TimeVaryingDiagonal,
    after_input,
)
from tests.builders import build_layer
from tests.scans import by_definition
from tests.scans.test_selective import compiled, results, system_of

BATCH, LENGTH, HEADS, STATES = 2, 37, 12, 3


def shared(groups: int, dtype: torch.dtype = torch.float32, **options) -> TimeVaryingDiagonal:
    """Rows of ``groups`` groups of the 12 heads."""
    torch.manual_seed(groups)
    rows = (BATCH, LENGTH, groups, STATES)
    return TimeVaryingDiagonal(
        lam=torch.rand(rows).to(dtype),
        B=torch.randn(rows).to(dtype)[..., None],
        C=torch.randn(rows).to(dtype)[..., None, :],
        D=torch.randn(BATCH, LENGTH, HEADS, 1, 1),
        **options,
    )


def exact(system, u, x0):
    y, final = by_definition.time_varying(system.expanded(), u, x0)
    return y.real, final.real


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("scan", ["cpu", "chunked", "reference", "auto"])
def test_scans_give_the_outputs_and_gradients_of_the_definition(scan, groups):
    system = shared(groups)
    u, x0 = torch.randn(BATCH, LENGTH, HEADS, 1), torch.randn(BATCH, HEADS, STATES)
    found = results(registry.scans.get(scan).build(), system, u, x0)
    for key, expected in results(exact, system.double(), u.double(), x0.double()).items():
        assert found[key].shape == expected.shape
        torch.testing.assert_close(found[key].double(), expected, rtol=1e-5, atol=2e-5)


def test_expanded_rows_are_those_of_neighbours():
    system = shared(4)
    whole = system.expanded()
    assert (system.heads, system.states) == (whole.heads, whole.states) == (HEADS, STATES)
    for h in range(HEADS):
        assert torch.equal(whole.B[:, :, h], system.B[:, :, h // 3])
    assert whole.expanded() is whole


@pytest.mark.parametrize("groups", [1, 4])
def test_what_reads_the_system_reads_that_of_every_head(groups):
    system = shared(groups, torch.complex64, conjugate=True)
    whole = system.expanded()
    assert analyse_frozen(system).gains == analyse_frozen(whole).gains
    for change in (after_input, lambda s: s.during([1, 5]), lambda s: s.split(30)[1]):
        for name, expected in change(whole).tensors().items():
            assert torch.equal(change(system).expanded().tensors()[name], expected)
    for name, expected in whole.at(1, 3).tensors().items():
        assert torch.equal(system.at(1, 3).tensors()[name], expected)
    scan, u = registry.scans.get("auto").build(), torch.randn(BATCH, LENGTH, HEADS, 1)
    one, other = (scan_by_parts(scan, reading_states(s), u, None)[0] for s in (system, whole))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("groups", [0, 5, 24])
def test_groups_that_do_not_divide_the_heads_are_refused(groups):
    rows = torch.zeros(BATCH, LENGTH, groups, STATES)
    fields = {"lam": rows, "B": rows[..., None], "C": rows[..., None, :]}
    with pytest.raises(ShapeError, match=r"\.D has shape"):
        dataclasses.replace(shared(12), **fields)


def test_rows_of_a_discrete_system_are_shared_alike():
    with pytest.raises(ShapeError, match=r"\.B has shape"):
        dataclasses.replace(shared(4), B=shared(2).B)


class OwnCall(CPUScan):
    """Reads rows as if each head had one."""

    def __call__(self, system, u, x0=None):
        assert isinstance(system, TimeVaryingDiagonal)
        assert system.lam.shape[2] == u.shape[2]
        return super().__call__(system, u, x0)


def test_a_backend_that_does_not_say_so_gets_rows_of_every_head(monkeypatch):
    system, u = shared(2), torch.randn(BATCH, LENGTH, HEADS, 1)
    expected, _ = exact(system.double(), u.double(), torch.zeros(BATCH, HEADS, STATES).double())
    own = OwnCall(NoOptions())
    assert CPUScan.takes_shared_rows
    assert not own.takes_shared_rows
    monkeypatch.setattr("ssmbench.scans.auto.ranked_backends", lambda: {"own": own})
    for scan in (own, AutoScan(NoOptions())):
        y, _ = scan_by_parts(scan, system, u, None)
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=2e-5)


@compiled
def test_sampled_systems_have_groups_of_their_own_for_each_matrix():
    """lam of 2 groups, B of 3, C of one for all 12 heads."""
    whole = system_of(40, HEADS, STATES, False, torch.float64)
    system = dataclasses.replace(
        whole, lam=whole.lam[:, :, ::6], B=whole.B[:, :, ::4], C=whole.C[:, :, :1]
    )
    u, x0 = torch.randn(2, 40, HEADS, 1).double(), torch.randn(2, HEADS, STATES).double()
    rule, scan = ElementwiseRule(Rule.exponential), registry.scans.get("cpu").build()

    def fused(system, u, x0):
        return scan.scan_sampled(SampledModes.of(system, rule, Readout.before), u, x0)

    def parts(system, u, x0):
        return exact(registry.discretizers.get("zoh").build()(system), u, x0)

    found = results(fused, system, u, x0)
    for key, expected in results(parts, system, u, x0).items():
        torch.testing.assert_close(found[key], expected, rtol=1e-10, atol=1e-11)


@compiled
def test_a_selective_contraction_writes_no_rows_of_channels():
    """Rows (B, L, G, N), 16 a group of 16 channels: 12 bytes a token and channel, not 192."""
    layer = build_layer("contraction_selective", d_model=64)
    u = torch.randn(2, 256, 64)
    system = layer.parametrization(u)
    assert system.lam.untyped_storage().nbytes() == 4 * u.numel()
    whole = layer.system_for(u)
    assert isinstance(whole, TimeVaryingDiagonal)
    assert whole.lam.shape == (2, 256, 64, 16)
    u.requires_grad_()
    per_number = kept_bytes(lambda: layer(u)) / u.numel()
    assert per_number < 60, f"{per_number:.0f} bytes"
