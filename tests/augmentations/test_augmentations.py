"""What each augmentation does to signals, against statements of it one sequence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.augmentations.base import Augmentation, Signals, augmented
from ssmbench.errors import PluginError
from ssmbench.registry import augmentations
from ssmbench.spec import Channels, TaskSizes

IMAGE = TaskSizes(Channels(2), outputs=3, length=24, image=(4, 6))


def built(name: str, **options) -> Augmentation:
    entry = augmentations.get(name)
    return entry.build(entry.config(**options), sizes=IMAGE)


@st.composite
def signals(draw, most=12):
    """Padded or whole signals of a few steps, uniformly sampled or not."""
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(1, most))
    torch.manual_seed(draw(st.integers(0, 1000)))
    lengths = torch.randint(1, steps + 1, (batch,)) if draw(st.booleans()) else None
    dt = 0.5 + torch.rand(batch, steps) if draw(st.booleans()) else None
    return Signals(torch.randn(batch, steps, 2), lengths, dt)


def pairs(given: Signals, made: Signals):
    """Each sequence before and after, without padding, and its rows with padding."""
    for k, n in enumerate(given.ends[:, 0].tolist()):
        yield given.u[k, :n], made.u[k, :n], given.u[k], made.u[k]


@given(signals(), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_circular_shift_is_a_rotation_of_each_sequence(given, most):
    made = built("shift", most=most)(given)
    for row, (u, v, whole, changed) in enumerate(pairs(given, made)):
        rotations = [s for s in range(len(u)) if torch.equal(u.roll(s, 0), v)]
        assert rotations
        assert torch.equal(whole[len(u) :], changed[len(u) :])
        if given.dt is not None:
            turned = [given.dt[row, : len(u)].roll(s, 0) for s in rotations]
            assert any(torch.equal(dt, made.dt[row, : len(u)]) for dt in turned)


@given(signals(), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_shift_filled_with_zeros_moves_each_sequence(given, most):
    made = built("shift", most=most, fill="zero")(given)
    for u, v, whole, changed in pairs(given, made):
        moved = [
            torch.cat([torch.zeros(max(s, 0), 2), u, torch.zeros(max(-s, 0), 2)])[
                max(-s, 0) : max(-s, 0) + len(u)
            ]
            for s in range(-most, most + 1)
        ]
        assert any(torch.equal(one, v) for one in moved)
        assert torch.equal(whole[len(u) :], changed[len(u) :])


@given(signals(), st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_an_amplitude_is_one_factor_for_each_sequence(given, most):
    made = built("amplitude", most=most)(given)
    factors = (made.u / given.u).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-5)
    assert (factors - 1).abs().max() <= most + 1e-5


@given(signals(), st.floats(0, 0.9))
@settings(max_examples=40, deadline=None)
def test_speed_is_linear_interpolation_at_evenly_spaced_times(given, most):
    torch.manual_seed(3)
    made = built("speed", most=most)(given)
    torch.manual_seed(3)
    speeds = (1 + most * (2 * torch.rand(len(given.u), 1) - 1))[:, 0]
    for k, (speed, n) in enumerate(zip(speeds, given.ends[:, 0].tolist(), strict=True)):
        times = (speed * torch.arange(given.u.shape[1])).numpy()
        inside = times <= n - 1
        kept = int(inside.sum())
        for c in range(2):
            expected = np.interp(times[inside], np.arange(n), given.u[k, :n, c].numpy())
            np.testing.assert_allclose(made.u[k, :kept, c], expected, atol=1e-5)
        assert (made.u[k, kept:] == 0).all()
        if given.lengths is not None:
            assert made.lengths[k] == kept


@given(signals(), st.integers(1, 3), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_masks_hide_no_more_than_they_may(given, masks, longest):
    made = built("mask", masks=masks, longest=longest)(given)
    hidden = (made.u == 0).all(-1)
    assert torch.equal(made.u[~hidden], given.u[~hidden])
    for n, row in zip(given.ends[:, 0].tolist(), hidden, strict=True):
        assert row.sum() <= masks * round(longest * n)
        assert not row[n:].any()
        edges = int((row[1:] & ~row[:-1]).sum()) + int(row[0])
        assert edges <= masks


def test_masks_reach_every_step_and_every_length():
    torch.manual_seed(0)
    hidden = (built("mask", longest=0.5)(Signals(torch.ones(4000, 10, 1))).u == 0)[..., 0]
    assert set(hidden.sum(1).tolist()) == set(range(6))
    assert hidden[:, 0].any()
    assert hidden[:, -1].any()


def test_noise_has_its_deviation():
    u = torch.zeros(100, 100, 2)
    made = built("noise", deviation=0.3)(Signals(u)).u
    # Of 20,000 samples, the deviation of the standard deviation is 0.3 / 200.
    assert abs(made.std().item() - 0.3) < 5 * 0.3 / 200
    assert abs(made.mean().item()) < 5 * 0.3 / 141


def test_images_are_mirrored_row_by_row():
    u = torch.randn(64, 24, 2)
    torch.manual_seed(0)
    made = built("flip")(Signals(u)).u
    mirrored = u.unflatten(1, (4, 6)).flip(2).flatten(1, 2)
    chosen = torch.tensor([torch.equal(a, b) for a, b in zip(made, mirrored, strict=True)])
    assert torch.equal(made, torch.where(chosen[:, None, None], mirrored, u))
    assert 16 < chosen.sum() < 48  # 8 deviations of 4 from the mean 32


@pytest.mark.parametrize("most", [0, 1, 4, 9])
def test_a_crop_is_cut_from_an_image_with_a_border_of_zeros(most):
    u = torch.randn(20, 24, 2)
    made = built("crop", most=most)(Signals(u)).u.unflatten(1, (4, 6))
    border = torch.nn.functional.pad(u.unflatten(1, (4, 6)).movedim(-1, 1), (most,) * 4).movedim(
        1, -1
    )
    span = range(2 * most + 1)
    for image, wide in zip(made, border, strict=True):
        assert any(torch.equal(image, wide[i : i + 4, j : j + 6]) for i in span for j in span)


@pytest.mark.parametrize("entry", list(augmentations), ids=lambda entry: entry.name)
def test_each_sequence_has_random_numbers_of_its_own(entry):
    u = torch.randn(1, 24, 2).expand(40, -1, -1).contiguous()
    made = entry.build(sizes=IMAGE)(Signals(u)).u
    assert len({tuple(one.flatten().tolist()) for one in made}) > 1


def test_what_has_another_form_is_refused():
    class Cut(Augmentation):
        def __call__(self, signals):
            return signals._replace(u=signals.u[:, 1:])

    with pytest.raises(PluginError, match=r"test_augmentations.*returns u .*it must be"):
        augmented(Cut(None, sizes=IMAGE), Signals(torch.zeros(2, 24, 2)))
