"""Pathfinder: labels against contours traced in the image, files of both forms, what is refused."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.lra.contours import contour_images
from ssmbench.tasks.lra.pathfinder_files import listed_images
from ssmbench.tasks.lra.records import Records
from ssmbench.tasks.lra.strokes import Pen
from tests.tasks.tiny import tiny_task


def task_of(**options):
    entry = tasks.get("pathfinder")
    return entry.build(entry.config(**options), batch_size=4, seed=0)


# --- labels, from the pixels alone --------------------------------------------------------------


def components(lit: np.ndarray, reach: int) -> np.ndarray:
    """Numbers from 1 for groups of lit pixels that steps of at most ``reach`` along each axis join,
    by flooding."""
    found = np.zeros(lit.shape, int)
    number = 0
    for start in zip(*np.nonzero(lit), strict=True):
        if found[start]:
            continue
        number += 1
        found[start] = number
        queue = deque([start])
        while queue:
            y, x = queue.popleft()
            top, left = max(y - reach, 0), max(x - reach, 0)
            window = slice(top, y + reach + 1), slice(left, x + reach + 1)
            for dy, dx in zip(*np.nonzero(lit[window] & (found[window] == 0)), strict=True):
                found[top + dy, left + dx] = number
                queue.append((top + dy, left + dx))
    return found


def discs(image: np.ndarray, thickness: float) -> np.ndarray:
    """Pixels in squares of full brightness that are too wide for a stroke."""
    side = math.floor(thickness - 0.96) + 2
    bright = image >= 250
    windows = np.lib.stride_tricks.sliding_window_view(bright, (side, side)).all((2, 3))
    found = np.zeros_like(bright)
    for y, x in zip(*np.nonzero(windows), strict=True):
        found[y : y + side, x : x + side] = True
    return found


def traced(image: np.ndarray) -> int:
    """Whether both discs are on one contour."""
    pen = Pen.of(len(image))
    marks = discs(image, pen.thickness)
    assert components(marks, 1).max() == 2, "not two discs"
    return int(len(set(components(image > 0, pen.reach)[marks].tolist())) == 1)


@given(
    size=st.sampled_from([32, 35, 40, 47, 64, 80]),
    seed=st.integers(0, 2**32 - 1),
    dashes=st.integers(3, 9),
    distractors=st.integers(0, 4),
)
@settings(max_examples=6, deadline=None)
def test_labels_are_those_of_traced_contours(size, seed, dashes, distractors):
    images, labels = contour_images(size, 20, (seed,), dashes, distractors)
    assert [traced(image) for image in images] == labels.tolist()


@pytest.mark.parametrize(("size", "number"), [(32, 60), (128, 6)])
def test_labels_at_the_published_length(size, number):
    images, labels = contour_images(size, number, (0,))
    assert [traced(image) for image in images] == labels.tolist()
    assert 0.3 < labels.mean() < 0.7


def test_distance_between_the_discs_does_not_tell_the_label():
    images, labels = contour_images(32, 512, (1,), 9)
    apart = []
    for image in images:
        found = components(discs(image, 1.0), 1)
        one, other = (np.argwhere(found == k).mean(0) for k in (1, 2))
        apart.append(np.linalg.norm(one - other))
    best = max(
        max(np.mean((apart < t) == labels), np.mean((apart >= t) == labels))
        for t in np.quantile(apart, np.linspace(0, 1, 20))
    )
    # A threshold chosen after the fact among independent labels: 0.5 + 0.02 is typical, and twice
    # the standard error of 0.022 beyond that is allowed for.
    assert best < 0.57


def test_images_are_a_function_of_the_arguments():
    """If this changes, the task's data_version must be raised."""
    images, labels = contour_images(32, 3, (0,), 5, 2)
    more, more_labels = contour_images(32, 70, (0,), 5, 2)
    assert np.array_equal(images, more[:3])
    assert labels.tolist() == more_labels[:3].tolist()
    assert not np.array_equal(images, contour_images(32, 3, (1,), 5, 2)[0])
    assert [int((image > 0).sum()) for image in images] == [90, 94, 91]


def test_splits_and_scale():
    task = tiny_task("pathfinder")
    rows = [task.split(name).rows.tolist() for name in ("train", "val", "test")]
    assert [len(part) for part in rows] == [64, 8, 8]
    assert sorted(rows[0] + rows[1] + rows[2]) == list(range(80))
    drawn = torch.utils.data.random_split(
        range(80), [64, 8, 8], generator=torch.Generator().manual_seed(42)
    )
    assert rows == [list(part.indices) for part in drawn]
    u = task.sample("train").u
    assert (u.min().item(), u.max().item()) == (-1, 1)
    assert u.shape == (64, 32 * 32, 1)


# --- published files ----------------------------------------------------------------------------

ROWS = [("imgs/0", f"sample_{k}.png", k, k % 2, 1.8, 14, 4) for k in range(6)]


def write_images(folder, *, binary, size=32, lists=2):
    """Lists 2.npy and 10.npy with the images of ROWS in each; image k of list j is 40 j + k
    everywhere."""
    (folder / "metadata").mkdir(parents=True)
    for j, number in enumerate((2, 10)[:lists]):
        rows = [(f"imgs/{number}", *row[1:]) for row in ROWS]
        (folder / f"imgs/{number}").mkdir(parents=True)
        for k, row in enumerate(rows):
            image = Image.fromarray(np.full((size, size), 40 * j + k, np.uint8))
            image.save(folder / row[0] / row[1])
        text = [[str(x) for x in row] for row in rows]
        file = folder / "metadata" / f"{number}.npy"
        if binary:
            np.save(file, np.array(text))
        else:
            file.write_text("\n".join(" ".join(row) for row in text) + "\n")
    return folder


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("layout", ["", "pathfinder/", "lra_release/lra_release/"])
def test_published_images_in_every_layout(tmp_path, binary, layout):
    write_images(tmp_path / f"{layout}pathfinder32/curv_contour_length_14", binary=binary)
    task = task_of(data_dir=str(tmp_path))
    assert task.source == "published PNG files"
    seen = []
    for name in ("train", "val", "test"):
        batch = task.sample(name)
        grey = ((batch.u[:, 5, 0] + 1) * 127.5).round().int()
        assert (grey % 40 % 2 == batch.target).all()
        seen += grey.tolist()
    assert sorted(seen) == [*range(6), *range(40, 46)]  # list 2 before list 10, each in order


def test_the_digest_tells_images_apart(tmp_path):
    folder = write_images(tmp_path / "pathfinder32/curv_contour_length_14", binary=False)
    before = task_of(data_dir=str(tmp_path)).data_digest
    image = next((folder / "imgs/2").iterdir())
    image.write_bytes(image.read_bytes() + b" ")
    assert task_of(data_dir=str(tmp_path)).data_digest != before


def test_the_empty_image_of_the_release_is_left_out(tmp_path):
    folder = tmp_path / "pathfinder32" / "curv_baseline"
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata/0.npy").write_text(
        "imgs/0 sample_171.png 171 1 x\nimgs/0 sample_172.png 172 0 x\n"
    )
    assert [file.name for file in listed_images(folder / "metadata").images] == ["sample_171.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"imgs/0 a.png 0 1\nimgs/0 b.png 1\n", r"0\.npy:2: expected folder, file, number, label"),
        (b"imgs/0 a.png 0 2\n", r"0\.npy:1: expected folder"),
        (b"../../x a.png 0 1\n", r"0\.npy:1: names a file outside"),
        (b"/x a.png 0 1\n", r"0\.npy:1: names a file outside"),
        (b"\xff\xfe", r"0\.npy: neither text nor an array"),
        (b"\x93NUMPY cut off", r"0\.npy: not an array of strings"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, content, message):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/0.npy").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        listed_images(tmp_path / "metadata")
    assert "\n" not in str(caught.value)


def test_arrays_of_objects_or_numbers_are_refused(tmp_path):
    (tmp_path / "metadata").mkdir()
    for content in (np.zeros((2, 4)), np.array([["a", 1]], dtype=object)):
        np.save(tmp_path / "metadata/0.npy", content)
        with pytest.raises(UsageError, match=r"0\.npy: not a"):
            listed_images(tmp_path / "metadata")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), r"sample_3\.png: cannot be read"),
        (lambda file: file.write_bytes(b"not a picture"), r"sample_3\.png: not an image"),
        (lambda file: file.write_bytes(file.read_bytes()[:60]), r"sample_3\.png: "),
        (
            lambda file: Image.fromarray(np.zeros((8, 9), np.uint8)).save(file),
            r"sample_3\.png: 9 x 8 pixels instead of 32 x 32",
        ),
    ],
)
def test_damaged_images_are_refused(tmp_path, spoil, message):
    folder = write_images(tmp_path / "pathfinder32/curv_contour_length_14", binary=False)
    spoil(folder / "imgs/2/sample_3.png")
    with pytest.raises(UsageError, match=message) as caught:
        task_of(data_dir=str(tmp_path)).split("train")
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UsageError, match="pathfinder128/curv_contour_length_14/metadata"):
        task_of(records=Records.published, size=128).split("train")
    (tmp_path / "pathfinder32/curv_contour_length_14/metadata").mkdir(parents=True)
    with pytest.raises(UsageError, match="no list of images"):
        task_of(data_dir=str(tmp_path)).split("train")
    with pytest.raises(UsageError, match="9 images are too few"):
        tiny_task("pathfinder", images=9).split("train")
