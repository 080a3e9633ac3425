"""Data folders and tables: what is found, and what is refused in one line."""

import numpy as np
import pytest

from ssmbench.errors import UsageError
from ssmbench.tasks.data import DATA_VARIABLE, find_data, read_columns, require_data

NAMES = ("a/table.csv", "table.csv")


def refused(act, *words):
    with pytest.raises(UsageError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def write(folder, text, name="table.csv"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_no_folder_means_no_file():
    assert find_data(None, *NAMES) is None
    assert find_data("", *NAMES) is None


def test_config_goes_before_the_variable(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, other = write(tmp_path / "one", ""), write(tmp_path / "other", "")
    monkeypatch.setenv(DATA_VARIABLE, str(other.parent))
    assert find_data(None, *NAMES) == other
    assert find_data(str(one.parent), *NAMES) == one


def test_first_name_goes_first(tmp_path):
    write(tmp_path, "")
    nested = write(tmp_path, "", "a/table.csv")
    assert find_data(str(tmp_path), *NAMES) == nested


def test_folder_without_the_file_is_refused(tmp_path, monkeypatch):
    refused(lambda: find_data(str(tmp_path), *NAMES), "data_dir", *NAMES)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "absent"))
    refused(lambda: find_data(None, *NAMES), DATA_VARIABLE, "no such folder")


def test_the_variable_may_name_a_folder_without_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert find_data(None, *NAMES) is None
    refused(lambda: require_data("tanks", None, *NAMES), "tanks", *NAMES, str(tmp_path))


def test_a_name_with_a_slash_is_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    assert find_data(str(tmp_path), "a/") == tmp_path / "a"
    refused(lambda: find_data(str(tmp_path), "a"), "expected a")


def test_published_quirks_are_read(tmp_path):
    text = '\ufeff"u", "y","Ts",\r\n1,-2.5e-1,4,\r\n3,4,,\r\n\r\n'
    table = read_columns(write(tmp_path, text), ("y", "u"), 2)
    np.testing.assert_array_equal(table, [[-0.25, 1.0], [4.0, 3.0]])
    assert table.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no column u, y", "none")),
        ("u,z\n1,2\n", ("no column y", "u, z")),
        ("u,y\n", ("0 rows", "expected 2")),
        ("u,y\n1,2\n", ("1 rows", "expected 2")),
        ("u,y\n1,2\n3,x\n", (":3:", "cell 2", "'x'")),
        ("u,y\n1,2\n3\n", (":3:", "cell 2", "''")),
        ("u,y\n1,nan\n3,4\n", (":2:", "'nan'")),
        ("u,y\n1,inf\n3,4\n", (":2:", "'inf'")),
    ],
)
def test_malformed_table_is_refused(tmp_path, text, words):
    path = write(tmp_path, text)
    refused(lambda: read_columns(path, ("u", "y"), 2), str(path), *words)


def test_unreadable_file_is_refused(tmp_path):
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    refused(lambda: read_columns(binary, ("u",)), "cannot be read")
    refused(lambda: read_columns(tmp_path / "absent.csv", ("u",)), "cannot be read", "No such file")


def test_empty_table_is_refused_without_a_row_count(tmp_path):
    refused(lambda: read_columns(write(tmp_path, "u\n"), ("u",)), "at least one")
