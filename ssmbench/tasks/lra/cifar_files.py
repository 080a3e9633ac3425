"""CIFAR-10's binary version: records of a label and three planes of 32 x 32 bytes, red first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ssmbench.errors import UsageError
from ssmbench.tasks.data import require_data

CLASSES, SIDE, COLOURS = 10, 32, 3
PIXELS = SIDE * SIDE
#: Files of training images; the published data has all of them.
BATCHES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST = "test_batch.bin"
_RECORD = 1 + COLOURS * PIXELS


def places(name: str) -> tuple[str, ...]:
    """Where a file may be in the data folder."""
    tops = "cifar10/cifar-10-batches-bin/", "cifar-10-batches-bin/", "cifar10/", ""
    return tuple(f"{top}{name}" for top in tops)


def cifar_files(task: str, data_dir: str | None) -> tuple[list[Path], Path]:
    """The training files that are there, one at least, and the test file.

    Raises:
        UsageError: there is no data folder, or it has no training file or no test file.
    """
    test = require_data(task, data_dir, *places(TEST))
    found = [test.parent / name for name in BATCHES if (test.parent / name).is_file()]
    if not found:
        require_data(task, str(test.parent), BATCHES[0])
    return found, test


def read_cifar(files: list[Path]) -> tuple[UInt8[np.ndarray, "n 1024 3"], UInt8[np.ndarray, " n"]]:
    """Pixels row by row, with red, green and blue, and labels.

    Raises:
        UsageError: a file cannot be read or does not hold such records.
    """
    records = np.concatenate([_records(file) for file in files])
    planes = records[:, 1:].reshape(-1, COLOURS, PIXELS)
    return planes.transpose(0, 2, 1), records[:, 0]


def _records(file: Path) -> UInt8[np.ndarray, "n record"]:
    try:
        content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    if not len(content) or len(content) % _RECORD:
        raise UsageError(f"{file}: {len(content)} bytes; expected records of {_RECORD} bytes")
    records = content.reshape(-1, _RECORD)
    wrong = np.flatnonzero(records[:, 0] >= CLASSES)
    if len(wrong):
        label = records[wrong[0], 0]
        raise UsageError(f"{file}: record {wrong[0] + 1} has the label {label}; at most 9")
    return records


def grey(pixels: UInt8[np.ndarray, "n 1024 3"]) -> UInt8[np.ndarray, "n 1024 1"]:
    """Luminance (ITU-R 601-2), rounded as pillow and torchvision do."""
    red, green, blue = (pixels[..., k].astype(np.uint32) for k in range(COLOURS))
    luminance = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return luminance.astype(np.uint8)[..., None]
