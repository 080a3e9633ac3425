"""Signals by name from CSV, MAT and NPZ files, and what is said of a file that is not right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from ssmbench.errors import UsageError
from ssmbench.tasks.sysid.records import Records, RecordsConfig
from ssmbench.tasks.sysid.tables import read_signals
from tests.tasks.tiny import tiny_options

SIGNALS = np.random.default_rng(0).normal(size=(50, 3))
U, X, V = SIGNALS.T


def csv(path, delimiter=","):
    np.savetxt(path, SIGNALS, delimiter=delimiter, header=delimiter.join("uxv"), comments="")


def test_every_format_gives_the_same_signals(tmp_path):
    csv(tmp_path / "a.csv")
    csv(tmp_path / "b.txt", ";")
    csv(tmp_path / "c.TSV", "\t")
    savemat(tmp_path / "d.mat", {"u": U[:, None], "x": X[None], "v": V, "fs": 50.0})
    np.savez(tmp_path / "e.npz", u=U, x=X[:, None], v=V)
    for file in tmp_path.iterdir():
        np.testing.assert_array_equal(read_signals(file, ["v", "u"]), SIGNALS[:, [2, 0]])


def test_columns_of_a_variable_and_fields_of_a_structure(tmp_path):
    savemat(tmp_path / "a.mat", {"y": SIGNALS.T, "rig": {"force": U, "Y": SIGNALS}})
    names = ["rig.force", "y(2)", "rig.Y(3)"]
    np.testing.assert_array_equal(read_signals(tmp_path / "a.mat", names), SIGNALS)
    with pytest.raises(
        UsageError, match=r"'y'; it has several columns: choose from y\(1\) to y\(3"
    ):
        read_signals(tmp_path / "a.mat", ["y"])


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    delimiter=st.sampled_from(",;\t"),
)
def test_numbers_of_a_text_file_come_back(tmp_path_factory, values, delimiter):
    file = tmp_path_factory.mktemp("numbers") / "a.csv"
    lines = [f"{value!r}{delimiter}1" for value in values]
    file.write_text("\n".join([f"u{delimiter}n", *lines]))
    assert read_signals(file, ["u"])[:, 0].tolist() == values


def mat_7_3(path):
    """As MATLAB begins such a file; the rest is HDF5."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Nov 30 2026 HDF5 schema 1.00 ."
    path.write_bytes(text.ljust(124) + b"\x00\x02IM" + bytes(512))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.csv", lambda p: p.write_text("force,x\n1,2\n"), r"a.csv: no column u; known: force, x"),
        ("a.csv", lambda p: p.write_text("u1,x\n1,2\n"), r"no column u; did you mean 'u1'\?"),
        ("a.csv", lambda p: p.write_text("u,u\n1,2\n"), r"several columns have the name u"),
        ("a.csv", lambda p: p.write_text("u,x\n1,2\nnan,2\n"), r"a.csv:3: cell 1 is not a finite"),
        ("a.csv", lambda p: p.write_text("u;x\n1,5;2\n"), r"a.csv:2: cell 1 .*'1,5'"),
        ("a.mat", mat_7_3, r"a.mat: a MAT-file of version 7.3 .*-v7"),
        ("a.mat", lambda p: p.write_bytes(b"no"), r"a.mat: not a MAT-file"),
        ("a.mat", lambda p: savemat(p, {"uu": U}), r"no signal 'u'; did you mean 'uu'\?"),
        ("a.mat", lambda p: savemat(p, {"u": "text"}), r"u does not hold real numbers"),
        ("a.mat", lambda p: savemat(p, {"u": [1.0, np.nan]}), r"u, sample 2: nan is not finite"),
        ("a.npz", lambda p: np.savez(p, u=[None]), r"a.npz: not an NPZ file of numbers"),
        ("a.npz", lambda p: p.write_bytes(b"PK\x03\x04"), r"a.npz: not an NPZ file of numbers"),
        ("a.xlsx", lambda p: p.write_bytes(b""), r"must be a .csv, .tsv, .txt, .mat or .npz"),
    ],
)
def test_what_is_not_right_is_said_in_one_line(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(UsageError, match=message) as caught:
        read_signals(tmp_path / name, ["u"])
    assert "\n" not in str(caught.value)


def test_signals_of_different_lengths_and_missing_files_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", u=U, x=X[1:])
    with pytest.raises(UsageError, match=r"a.npz: signals of different lengths: u 50, x 49"):
        read_signals(tmp_path / "a.npz", ["u", "x"])
    for name in ("b.npz", "b.mat", "b.csv"):
        with pytest.raises(UsageError, match=rf"{name}: cannot be read \(No such file"):
            read_signals(tmp_path / name, ["u"])


# --- the task ------------------------------------------------------------------------------------


def records(**settings):
    return Records(RecordsConfig(**tiny_options("records") | settings), batch_size=8, seed=0)


def test_the_end_of_a_file_is_tested_after_one_window():
    task = records()
    assert (task.sizes.sequence.count, task.sizes.outputs, task.unit) == (1, 2, "m")
    assert task.source == "files rig.csv"
    assert task.split("test").u.shape == (1, 120, 1)
    assert task.split("test").target.shape == (1, 80, 2)
    assert task.split("val").u.shape == (1, 220, 1)
    table = read_signals(task.data_files()[0], ["x", "v"])
    batch = task.sample("test")
    _, y = task.batch_metric(batch.target, batch)
    np.testing.assert_allclose(y.unflatten(0, (-1, 2)).numpy(), table[220:], atol=1e-5)


def test_files_for_the_tests(tmp_path):
    for name in ("one", "two", "three"):
        csv(tmp_path / f"{name}.csv")
    lengths = {"window": 10, "validation": 20, "washout": 2, "data_dir": str(tmp_path)}
    files = {"files": ["one.csv"], "test_files": ["two.csv", "three.csv"], "test_samples": 0}
    task = records(**lengths, **files)
    assert task.split("val").u.shape == task.split("three").u.shape == (1, 50, 1)
    assert task.further_tests() == ("three",)
    assert task.source == "files one.csv, two.csv, three.csv"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": []}, "records: inputs must name at least one"),
        ({"files": []}, "records: files must name at least one"),
        ({"files": ["rug.csv"]}, "records: no file .*rug.csv"),
        ({"test_samples": 0}, "records: needs either test_files or test_samples"),
        ({"test_files": ["rig.csv"]}, "records: needs either test_files or test_samples"),
        ({"test_samples": 300}, "records: test_samples must be below 300, the samples of rig.csv"),
        ({"test_samples": 0, "test_files": ["rig.csv", "rig.csv"]}, "test_files of one name"),
        ({"test_samples": 250}, "records: validation must be in 1..49"),
        ({"outputs": ["y"]}, r"rig.csv: no column y; known: u, v, x"),
    ],
)
def test_a_config_that_does_not_fit_the_files_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        records(**settings).setup()
