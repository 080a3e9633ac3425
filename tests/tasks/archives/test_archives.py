"""Archives of time series: their layouts, what packages carry, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.config import resolve
from ssmbench.errors import UsageError
from ssmbench.tasks.archives.files import find_series, package_folder, read_series
from ssmbench.tasks.archives.watch import Watch
from tests.tasks.tiny import tiny_task

HEAD = "# a comment\n@problemName X\n@timeStamps false\n@classLabel true a b\n@data\n"


def write(folder: Path, text: str, name: str = "X_TRAIN.ts") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def joined(values):
    return ",".join(map(repr, values))


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5),
            st.sampled_from(["a", "b"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read(tmp_path_factory, series):
    rows = [
        f"{','.join(map(repr, v))}:{','.join(map(repr, v[::-1]))}:{label}" for v, label in series
    ]
    found = read_series(write(tmp_path_factory.mktemp("x"), HEAD + "\n".join(rows)))
    assert list(found.labels) == [label for _, label in series]
    for values, (written, _) in zip(found.values, series, strict=True):
        expected = np.array([written, written[::-1]], np.float32).T
        np.testing.assert_array_equal(values, expected)


def test_a_table_has_the_label_first(tmp_path):
    file = write(tmp_path, "  1.0000000e+00   2.5 3\n2\t-1\t0\n", "X_TRAIN.txt")
    found = read_series(file)
    assert list(found.labels) == ["1", "2"]
    np.testing.assert_array_equal(found.values[0], [[2.5], [3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no series"),
        (HEAD, "no series"),
        ("1,2:a\n", ":1: expected an @ line"),
        (HEAD + "1,2\n", ":6: no label"),
        (HEAD + "1,?:a\n", ":6: a missing value"),
        (HEAD + "1,x:a\n", ":6: not a number: x"),
        (HEAD + "1,inf:a\n", ":6: a value is not finite"),
        (HEAD + "1,2:1:a\n", r":6: channels of \[1, 2\] samples"),
        (HEAD + "1:2:a\n1:a\n", ":7: 1 channels, not 2"),
        (HEAD.replace("Stamps false", "Stamps true"), ":3: series with time stamps"),
        (HEAD.replace("Label true a b", "Label false"), ":4: series without a class"),
    ],
)
def test_malformed_files_are_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=f"X_TRAIN.ts{message}|X_TRAIN.ts: {message}"):
        read_series(write(tmp_path, text))


def test_data_of_an_installed_package_are_found_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SSMBENCH_DATA", raising=False)
    inside = tmp_path / "aeon/datasets/data/X"
    inside.mkdir(parents=True)
    (tmp_path / "aeon/__init__.py").write_text("raise RuntimeError('imported')")
    file = write(inside, HEAD)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_series("X", "TRAIN", None) == file
    assert package_folder("no_such_package") is None
    with pytest.raises(UsageError, match="Y: neither the data folder nor an installed package"):
        find_series("Y", "TRAIN", None)


def test_parts_of_a_data_set():
    tasks = [tiny_task("time_series", fold=k) for k in range(4)]
    held_out = [t.split("val").batch(range(len(t.split("val")))).u.sum().item() for t in tasks]
    assert len(set(held_out)) == 4
    assert [len(tasks[0].split(name)) for name in ("train", "val", "test")] == [36, 12, 48]
    assert tasks[0].sizes.outputs == 3
    assert tasks[0].sizes.length == tasks[0].split("train").lengths.max()
    with pytest.raises(UsageError, match=r"fold: must be in 0\.\.3, got 4"):
        tiny_task("time_series", fold=4)


def test_refit_trains_on_the_held_out_part_too():
    task, whole = tiny_task("time_series", fold=1), tiny_task("time_series", fold=1, refit=True)
    parts = [len(task.split(name)) for name in ("train", "val", "test")]
    assert len(whole.split("train")) == parts[0] + parts[1]
    assert [len(whole.split(name)) for name in ("val", "test")] == parts[1:]
    assert whole.data_digest != task.data_digest


@pytest.mark.parametrize("task", ["time_series", "watch"])
@pytest.mark.parametrize("option", ["noise", "shift", "amplitude"])
def test_former_options_name_their_new_place(task, option):
    with pytest.raises(UsageError, match=rf"{option}: is now written as augment: .*name: {option}"):
        resolve({"task": {"name": task, option: 1}})


def test_each_person_is_in_one_part():
    task = tiny_task("watch", test_subject=2, val_subject=5)
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [24, 3, 3]
    with pytest.raises(UsageError, match=r"test_subject: must be in 0\.\.9, got 10"):
        tiny_task("watch", test_subject=10).split("train")
    with pytest.raises(UsageError, match="val_subject: must be another"):
        tiny_task("watch", test_subject=3, val_subject=3)


def test_other_recordings_are_refused(tmp_path):
    Watch.tiny(tmp_path)
    np.save(tmp_path / "watch_dataset.npy", np.zeros(3))
    with pytest.raises(UsageError, match=r"watch_dataset\.npy: not the recordings"):
        tiny_task("watch", data_dir=str(tmp_path)).split("train")
