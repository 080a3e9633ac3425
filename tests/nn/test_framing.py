"""Frames of samples: the network on the framed signal, lengths, time steps, streams and gains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.build.network import build_network
from ssmbench.config import fingerprint, resolve, resolve_model
from ssmbench.config.schema import RunConfig
from ssmbench.errors import UsageError
from ssmbench.nn.framing import Framing
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, Pair, TaskSizes, Tokens

SIZES = TaskSizes(Channels(2), outputs=3, length=22)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def model_of(frame: int, sizes: TaskSizes = SIZES, **options) -> SequenceModel:
    torch.manual_seed(0)
    small = {"d_model": 4, "discretizer": "zoh", "frame": frame}
    parametrization = {"name": "s4d", "d_state": 4, "dt_min": 0.1, "dt_max": 0.5}
    model = resolve_model(small | {"parametrization": parametrization} | options)
    return build_network(RunConfig(model=model), sizes).double().eval()


def signal(batch: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, 2, dtype=torch.float64, generator=generator)


def by_hand(u: torch.Tensor, frame: int) -> torch.Tensor:
    """Frame k holds the samples from k F on, one after another."""
    count = -(-u.shape[1] // frame)
    filled = torch.cat([u, u.new_zeros(len(u), count * frame - u.shape[1], 2)], 1)
    return torch.stack([filled[:, k * frame : (k + 1) * frame].flatten(1) for k in range(count)], 1)


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(0, 3), length=st.integers(1, 30), frame=st.integers(1, 9))
def test_framing_is_an_isometry(batch, length, frame):
    u = signal(batch, length)
    framed = Framing(frame).signal(u)
    assert torch.equal(framed, by_hand(u, frame))
    norms = framed.flatten(1).norm(dim=1), u.flatten(1).norm(dim=1)
    torch.testing.assert_close(*norms, rtol=1e-14, atol=0)


@pytest.mark.parametrize("pooling", ["mean", "last", "unit"])
def test_a_framed_network_is_a_network_on_frames(pooling):
    framed = model_of(4, pooling=pooling)
    wide = model_of(1, TaskSizes(Channels(8), outputs=3, length=6), pooling=pooling)
    wide.load_state_dict(framed.state_dict())
    u = signal(3, 22)
    torch.testing.assert_close(framed(u), wide(by_hand(u, 4)), **EXACT)
    encoded = framed.encode(u)
    torch.testing.assert_close(framed.from_encoded(encoded), framed(u), **EXACT)
    gains = [1.0] * len(framed.layers)
    assert framed.bound(gains, 22).value == wide.bound(gains, 6).value


def test_a_padded_batch_gives_what_each_sequence_gives_alone():
    model, lengths = model_of(4), torch.tensor([22, 5, 8])
    u = signal(3, 22)
    u[1, 5:], u[2, 8:] = torch.nan, torch.nan
    y = model(u, lengths)
    for row, length in enumerate(lengths):
        alone = model(u[row : row + 1, :length])[0]
        torch.testing.assert_close(y[row], alone, **EXACT)


def test_a_framed_network_has_no_other_rate():
    """Its encoder would read samples at another distance than those it was trained on."""
    model = model_of(4)
    with pytest.raises(UsageError, match=r"rate: model\.frame = 4 reads samples together"):
        model.set_rate(0.5)
    assert {layer.rate for layer in model.layers} == {1.0}
    model.set_rate(1.0)


def test_time_steps_of_a_frame():
    model, u = model_of(4), signal(2, 22)
    ones = torch.ones(2, 22, dtype=torch.float64)
    torch.testing.assert_close(model(u, dt=ones), model(u), **EXACT)
    dt = 0.5 + torch.rand(2, 22, dtype=torch.float64)
    dt[:, 20:] = 1.0
    wide = model_of(1, TaskSizes(Channels(8), outputs=3, length=6))
    wide.load_state_dict(model.state_dict())
    means = torch.cat([dt[:, :20].reshape(2, 5, 4).mean(-1), dt[:, :1] ** 0], 1)
    torch.testing.assert_close(model(u, dt=dt), wide(by_hand(u, 4), dt=means), **EXACT)


@pytest.mark.parametrize("wrong", [torch.ones(2, 21), -torch.ones(2, 22)])
def test_wrong_time_steps_are_refused(wrong):
    with pytest.raises(UsageError, match="dt"):
        model_of(4)(signal(2, 22), dt=wrong.double())


def test_a_stream_is_the_whole_signal_and_takes_whole_frames():
    model, u, state = model_of(4), signal(2, 24), None
    for chunk in u.split([8, 4, 12], 1):
        y, state = model.stream(chunk, state)
    torch.testing.assert_close(y, model(u), **EXACT)
    assert state.steps == 6
    with pytest.raises(UsageError, match=r"multiple of model.frame = 4 samples, got 6"):
        model.stream(u[:, :6])


def test_a_prescribed_gain_is_kept():
    options = {"parametrization": "l2ru", "discretizer": None}
    model = model_of(4, gamma=2.0, pooling="unit", nonlinearity="relu", **options)
    assert model.bound([layer.declared_gain() for layer in model.layers], 22).value <= 2.0001
    u, change = signal(50, 22), 1e-3 * torch.randn(50, 22, 2, dtype=torch.float64)
    growth = (model(u + change) - model(u)).norm(dim=-1) / change.flatten(1).norm(dim=-1)
    assert growth.max() <= 2.0


@pytest.mark.parametrize(
    ("sizes", "has"),
    [
        (TaskSizes(Tokens(5), outputs=3, length=22), "tokens"),
        (TaskSizes(Pair(Channels(2)), outputs=3, length=22), "pairs of sequences of channels"),
        (TaskSizes(Channels(2), outputs=3, length=22, per_step=True), "predictions per step"),
    ],
)
def test_what_cannot_be_framed_is_refused(sizes, has):
    with pytest.raises(UsageError, match=f"model.frame: .*this task has {has}"):
        model_of(4, sizes)


def test_the_default_is_no_part_of_the_fingerprint():
    model = {"discretizer": "zoh"}
    plain, one, four = (
        fingerprint(resolve({"model": model | frame})) for frame in ({}, {"frame": 1}, {"frame": 4})
    )
    assert plain == one != four
