"""``ssmbench data``: what is needed, what is there, and what is wrong."""

import json
import shutil

import pytest

from ssmbench.errors import UsageError
from ssmbench.library.data import all_data, check_data, data_of, fetch_data
from ssmbench.tasks.data import DATA_VARIABLE
from ssmbench.tasks.mnist import MNIST


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "mnist").mkdir()
    MNIST.tiny(tmp_path / "mnist")
    return tmp_path


def test_states(folder):
    states = {data.task: data.state for data in all_data()}
    assert states["mnist"] == "found"
    assert states["spoken_digits"] == "missing"
    assert states["digits"] == "not needed"
    assert states["records"] == "your own"
    (folder / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    assert data_of("mnist").state == "incomplete"


def test_what_is_missing_is_named_with_the_way_out(folder):
    (folder / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    found = check_data("mnist")
    assert not found.ok
    assert "mnist/t10k-labels-idx1-ubyte.gz" in found.finding
    assert MNIST.published.page in found.finding
    assert "ssmbench data fetch spoken_digits" in check_data("spoken_digits").finding


def test_damage_is_found(folder):
    small = {"train_images": 200, "val_images": 40, "test_images": 50}
    assert check_data("mnist", small).ok
    file = folder / "mnist/train-images-idx3-ubyte.gz"
    shutil.copyfile(folder / "mnist/train-labels-idx1-ubyte.gz", file)
    found = check_data("mnist", small)
    assert not found.ok
    assert str(file) in found.finding


def test_what_cannot_be_fetched_is_refused(folder):
    with pytest.raises(UsageError, match="no files"):
        fetch_data("digits")
    with pytest.raises(UsageError, match=r"no download is known; get the files from https"):
        fetch_data("mnist")


def test_verbs(ssmbench, folder):
    assert "spoken_digits" in ssmbench("data", "list").out
    shown = json.loads(ssmbench("data", "show", "spoken_digits", "--json").out)
    assert shown["licence"] == "CC BY-SA 4.0"
    assert "digits" in ssmbench("data", "make", "digits", "test_images=100").out
    failed = ssmbench("data", "check", "digits", "mnist")
    assert failed.code == 1
    assert "train_images + val_images are 60000 of 240" in failed.out
    unknown = ssmbench("data", "make", "nothing")
    assert unknown.code == 2
    assert "unknown task 'nothing'" in unknown.err
