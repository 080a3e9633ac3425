"""Spoken digits and commands: the published files, small ones, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from ssmbench.errors import UsageError
from ssmbench.tasks.audio.recordings import read_wav
from ssmbench.tasks.audio.speech_commands import SpeechCommands
from ssmbench.tasks.audio.spoken_digits import SpokenDigits
from tests.tasks.tiny import tiny_task

DATA = os.environ.get("SSMBENCH_DATA", "")
published = pytest.mark.skipif(
    not (Path(DATA) / "fsdd").is_dir(), reason="SSMBENCH_DATA holds no folder fsdd"
)


@published
def test_published_recordings():
    task = tiny_task("spoken_digits", data_dir=DATA, val_recordings=3, max_samples=None)
    train, val, test = (task.split(name) for name in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [2520, 180, 300]
    lengths = np.concatenate([part.lengths for part in (train, val, test)])
    assert (lengths.min(), lengths.max(), np.median(lengths)) == (1148, 18_262, 3358.5)
    assert torch.bincount(test.batch(range(300)).target).tolist() == [30] * 10
    assert task.sizes.length == lengths.max()


def test_standardised_by_the_training_part():
    task = tiny_task("spoken_digits")
    train = task.split("train")
    values = torch.cat([torch.as_tensor(np.array(train.sample(k).u)) for k in range(len(train))])
    assert abs(float(values.mean())) < 1e-5
    assert float(values.std(unbiased=False)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["spoken_digits", "speech_commands"])
def test_half_rate_is_every_second_sample_twice_as_far_apart(name):
    task = tiny_task(name, half_rate=True)
    assert task.further_tests() == ("half rate",)
    whole, half = (task.split(part).batch([3]) for part in ("test", "half rate"))
    assert torch.equal(half.u, whole.u[:, ::2])
    assert torch.equal(half.target, whole.target)
    assert torch.equal(half.dt, torch.full_like(half.u[..., 0], 2.0))


def test_recordings_are_cut_off():
    task = tiny_task("spoken_digits", max_samples=25)
    assert task.split("train").lengths.max() == 25 == task.sizes.length


def test_commands_follow_the_published_lists():
    task = tiny_task("speech_commands")
    assert [len(task.split(part)) for part in ("train", "val", "test")] == [40, 10, 10]
    assert task.split("test").batch(range(10)).target.tolist() == list(range(10))


def damaged(folder: Path, content: bytes | None, rate: int = 8000, dtype: str = "int16") -> Path:
    file = folder / "x.wav"
    if content is None:
        wavfile.write(file, rate, np.zeros(5, dtype))
    else:
        file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("content", "rate", "dtype", "message"),
    [
        (b"", 8000, "int16", "cannot be read"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", 8000, "int16", "cannot be read"),
        (b"x" * 100, 8000, "int16", "cannot be read"),
        (None, 16_000, "int16", "at 8000 Hz, found int16 of shape .* at 16000 Hz"),
        (None, 8000, "uint8", "found uint8"),
    ],
)
def test_other_files_are_refused(tmp_path, content, rate, dtype, message):
    file = damaged(tmp_path, content, rate, dtype)
    with pytest.raises(UsageError, match=f"x.wav: .*{message}"):
        read_wav(file, 8000)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match="needs a data folder with fsdd/recordings/"):
        tiny_task("spoken_digits", data_dir=None).split("train")
    SpokenDigits.tiny(tmp_path)
    (tmp_path / "recordings" / "7_theo_x.wav").write_bytes(b"")
    with pytest.raises(UsageError, match=r"7_theo_x\.wav: expected a name such as"):
        tiny_task("spoken_digits", data_dir=str(tmp_path)).split("train")
    SpeechCommands.tiny(tmp_path)
    with (tmp_path / "speech_commands/testing_list.txt").open("a") as file:
        file.write("up/none.wav\n")
    with pytest.raises(UsageError, match=r"list\.txt:11: no such recording: 'up/none\.wav'"):
        tiny_task("speech_commands", data_dir=str(tmp_path)).split("train")
