"""Recordings of spoken words: read, standardised, and cut to a common greatest length."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16

from ssmbench.errors import UsageError
from ssmbench.tasks.cache import Arrays, cached_arrays
from ssmbench.tasks.progress import Preparation
from ssmbench.tasks.sequences import PaddedSequences, Splits

#: Time between the samples of a recording of which every second sample is kept, in those of one
#: that is whole.
_HALF_RATE = 2.0


class Recording(NamedTuple):
    """A file and the index of the class that it belongs to."""

    file: Path
    label: int


def read_wav(file: Path, rate: int) -> Int16[np.ndarray, " L"]:
    """Samples of a WAV file with one channel of 16-bit integers at ``rate`` Hz.

    Raises:
        UsageError: it cannot be read, is empty, or has another format.
    """
    from scipy.io import wavfile  # half a second, which listing the tasks should not cost

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks beside the samples
            found, samples = wavfile.read(file)
    # NameError: scipy's of a file that ends before its samples
    except (OSError, ValueError, EOFError, struct.error, NameError) as error:
        raise UsageError(f"{file}: cannot be read as a WAV file ({error})") from None
    if found != rate or samples.dtype != np.int16 or samples.ndim != 1 or not len(samples):
        raise UsageError(
            f"{file}: expected one channel of 16-bit samples at {rate} Hz, found "
            f"{samples.dtype} of shape {samples.shape} at {found} Hz"
        )
    return samples


def recorded_splits(
    name: str,
    parts: Mapping[str, Sequence[Recording]],
    *,
    digest: str,
    rate: int,
    max_samples: int | None,
    half_rate: bool,
) -> Splits:
    """Recordings as sequences (L, 1), standardised by the training part's mean and deviation.

    ``parts``: those of ``train``, ``val`` and ``test``. ``digest``: of the files; they are decoded
    once. ``max_samples``: what lies beyond is cut off. ``half_rate``: whether every second sample
    of the test recordings, twice as far apart, is a further test set.

    Raises:
        UsageError: what :func:`read_wav` raises.
    """
    settings = {"files": digest, "max_samples": max_samples, "version": 1}
    arrays = cached_arrays(name, settings, lambda: _decoded(parts, rate, max_samples))
    split = {part: _sequences(arrays, part) for part in parts}
    further = {"half rate": _every_second(split["test"])} if half_rate else {}
    return Splits(split["train"], split["val"], split["test"], further)


def _decoded(
    parts: Mapping[str, Sequence[Recording]], rate: int, max_samples: int | None
) -> Arrays:
    arrays: Arrays = {}
    with Preparation("recordings", sum(map(len, parts.values()))) as progress:
        for part, listed in parts.items():
            waves = [read_wav(one.file, rate)[:max_samples] for one in progress.over(listed)]
            arrays[f"{part}_values"] = np.concatenate(waves).astype(np.float32)[:, None]
            arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, waves)])
            arrays[f"{part}_labels"] = np.array([one.label for one in listed])
    mean, deviation = arrays["train_values"].mean(), arrays["train_values"].std()
    for part in parts:
        arrays[f"{part}_values"] = (arrays[f"{part}_values"] - mean) / deviation
    return arrays


def _sequences(arrays: Arrays, part: str) -> PaddedSequences:
    values: Float32[np.ndarray, "total 1"] = arrays[f"{part}_values"]
    return PaddedSequences(values, arrays[f"{part}_offsets"], arrays[f"{part}_labels"])


def _every_second(whole: PaddedSequences) -> PaddedSequences:
    rows = [whole.sample(k).u[::2] for k in range(len(whole))]
    dt = [np.full(len(row), _HALF_RATE, np.float32) for row in rows]
    labels = whole.target
    offsets = np.cumsum([0, *map(len, rows)])
    return PaddedSequences(np.concatenate(rows), offsets, labels, np.concatenate(dt))
