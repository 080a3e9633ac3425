"""Time-varying systems: shapes are checked, and freezing them in time gives the right matrices."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssmbench.analysis.gain import analyse, analyse_frozen
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.errors import ShapeError, UsageError
from ssmbench.systems import ContinuousDiagonal, DiscreteDiagonal, TimeVaryingDiagonal, at_steps
from ssmbench.testing import example_time_varying_systems

BATCH, LENGTH = 2, 5


def examples() -> list[TimeVaryingDiagonal]:
    torch.manual_seed(0)
    return example_time_varying_systems(BATCH, LENGTH)


@pytest.mark.parametrize("system", examples())
def test_frozen_at_a_time_it_has_that_times_matrices(system):
    bank = system.bank()
    assert isinstance(bank, DiscreteDiagonal)
    assert bank.heads == BATCH * LENGTH * system.heads
    for b, k in ((0, 0), (1, 3)):
        still = system.at(b, k)
        assert still.conjugate == system.conjugate
        for name in ("lam", "B", "C"):
            assert torch.equal(getattr(still, name), getattr(system, name)[b, k])
        assert torch.equal(still.D, system.D if system.D.ndim == 3 else system.D[b, k])
        first = (b * LENGTH + k) * system.heads
        assert torch.equal(bank.head(first).lam, still.head(0).lam)


@pytest.mark.parametrize("system", examples())
def test_pieces_of_a_split_are_the_whole(system):
    pieces = system.split(2)
    assert [piece.length for piece in pieces] == [2, 2, 1]
    assert torch.equal(torch.cat([piece.B for piece in pieces], 1), system.B)
    assert torch.equal(pieces[1].lam, system.during([2, 3]).lam)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lam": (BATCH, LENGTH, 3)}, r"needs lam \(B, L, H, N\)"),
        ({"B": (BATCH, LENGTH + 1, 3, 4, 1)}, r"\.B has shape \(2, 6, 3, 4, 1\)"),
        ({"C": (BATCH, LENGTH, 3, 1, 5)}, r"\.C has shape"),
        ({"D": (2, 1, 1)}, r"\.D has shape .* must be \(3, 1, 1\)"),
        ({"D": (BATCH, LENGTH, 3, 2, 1)}, r"\.D has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    system = examples()[2]
    with pytest.raises(ShapeError, match=says):
        dataclasses.replace(system, **{k: torch.zeros(shape) for k, shape in change.items()})


def test_real_pairs_are_refused():
    with pytest.raises(ShapeError, match="conjugate=True needs complex lam"):
        dataclasses.replace(examples()[2], conjugate=True)


def test_steps_of_their_own_multiply_the_step_size():
    parts = {"B": torch.ones(2, 3, 1), "C": torch.ones(2, 1, 3), "D": torch.zeros(2, 1, 1)}
    dt = torch.tensor([0.1, 0.2])
    system = ContinuousDiagonal(lam=-torch.rand(2, 3), dt=dt, **parts)
    factors = 0.5 + torch.rand(4, 6)
    uneven = at_steps(system, factors)
    assert uneven.lam.untyped_storage().nbytes() == system.lam.untyped_storage().nbytes()
    torch.testing.assert_close(uneven.dt[1, 2], factors[1, 2] * dt)
    twice = at_steps(uneven, factors)
    torch.testing.assert_close(twice.dt, factors.square()[..., None] * dt)
    assert isinstance(uneven.at(3, 5), ContinuousDiagonal)


def test_it_has_no_gain_but_a_frozen_one():
    system = examples()[0]
    with pytest.raises(UsageError, match="time-varying: a gain exists only frozen in time"):
        analyse(system)
    report = analyse_frozen(system, most=3)
    assert report.steps == (0, 2, 4)
    norms = {k: [hinf_norm(system.at(b, k)).norm.max() for b in range(BATCH)] for k in (0, 2, 4)}
    assert report.gains == pytest.approx([float(max(norms[k])) for k in (0, 2, 4)], rel=1e-5)
    assert report.gain == max(report.gains)
    assert report.spectral_radius == pytest.approx(report.poles.abs().max().item())
    assert report.margin == pytest.approx(1 - report.spectral_radius)


def test_a_system_that_is_the_same_at_every_step_has_the_frozen_gain_of_that_system():
    still = examples()[0].at(0, 0)
    expanded = {k: t.expand(2, 7, *t.shape) for k, t in still.tensors().items()}
    report = analyse_frozen(TimeVaryingDiagonal(conjugate=True, **expanded))
    assert report.gain == pytest.approx(analyse(still).hinf, rel=1e-9)
