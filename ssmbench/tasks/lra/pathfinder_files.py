"""Pathfinder as the Arena and its generator lay it out: PNG images, and lists of them.

``pathfinder32/curv_contour_length_14/metadata/0.npy``: in the release text, from the generator an
array of strings; in both, a row begins with folder, file, number and label.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from ssmbench.errors import UsageError
from ssmbench.tasks.progress import Preparation

#: Folders by the contours' length.
LEVELS = {
    "hard": "curv_contour_length_14",
    "intermediate": "curv_contour_length_9",
    "easy": "curv_baseline",
}
#: Of the release: an empty file, which the S4 repository leaves out too.
_LEFT_OUT = "pathfinder32/curv_baseline/imgs/0/sample_172.png"
_ARRAY = b"\x93NUMPY"


@dataclass(frozen=True)
class Listed:
    """The images that the lists of a folder name, in the order of the S4 repository."""

    lists: tuple[Path, ...]
    images: tuple[Path, ...]
    labels: Int64[np.ndarray, " n"]


def listed_images(metadata: Path) -> Listed:
    """The images of all lists in the folder ``metadata``, which lies beside their folders.

    Raises:
        UsageError: there is no list, or a row is not right; the message names file and row.
    """
    lists = sorted(metadata.glob("*.npy"), key=_number)
    if not lists:
        raise UsageError(f"{metadata}: no list of images (0.npy and so on)")
    images, labels = [], []
    for file in lists:
        for row, fields in enumerate(_rows(file), 1):
            image, label = _entry(file, row, fields)
            if not image.as_posix().endswith(_LEFT_OUT):
                images.append(image)
                labels.append(label)
    return Listed(tuple(lists), tuple(images), np.array(labels, np.int64))


def _number(file: Path) -> int:
    if not file.stem.isdecimal():
        raise UsageError(f"{file}: a list of images is named by a number")
    return int(file.stem)


def _rows(file: Path) -> Iterable[Sequence[str]]:
    try:
        content = file.read_bytes()
        if content.startswith(_ARRAY):
            return [[str(x) for x in row] for row in _array(file, content)]
        return [line.split() for line in content.decode("ascii").splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: neither text nor an array of numpy") from None


def _array(file: Path, content: bytes) -> np.ndarray:
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        raise UsageError(f"{file}: not an array of strings ({error})") from None
    if found.ndim != 2 or found.dtype.kind not in "US":
        raise UsageError(f"{file}: not a table of strings, but {found.dtype} {found.shape}")
    return found.astype(str)


def _entry(file: Path, row: int, fields: Sequence[str]) -> tuple[Path, int]:
    if len(fields) < 4 or fields[3] not in ("0", "1"):
        raise UsageError(f"{file}:{row}: expected folder, file, number, label 0 or 1, ...")
    image = file.parent.parent / fields[0] / fields[1]
    if ".." in image.parts or Path(fields[0]).is_absolute() or Path(fields[1]).is_absolute():
        raise UsageError(f"{file}:{row}: names a file outside of its folder")
    return image, int(fields[3])


def read_images(files: Sequence[Path], size: int) -> UInt8[np.ndarray, "n size size"]:
    """Grey images of one size.

    Raises:
        UsageError: one cannot be read, or has another size.
    """
    images = np.empty((len(files), size, size), np.uint8)
    with Preparation("pathfinder: PNG files", len(files)) as progress:
        for held, file in zip(images, progress.over(files), strict=True):
            held[:] = _read_image(file, size)
    return images


def _read_image(file: Path, size: int) -> UInt8[np.ndarray, "size size"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"))
    except UnidentifiedImageError:
        raise UsageError(f"{file}: not an image") from None
    except (OSError, SyntaxError, ValueError) as error:  # what pillow raises for damaged files
        raise UsageError(f"{file}: cannot be read ({error})") from None
    if pixels.shape != (size, size):
        height, width = pixels.shape
        raise UsageError(f"{file}: {width} x {height} pixels instead of {size} x {size}")
    return pixels
