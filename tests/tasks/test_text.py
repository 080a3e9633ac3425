"""Text: the real archive, tree and archives, vocabulary, cutting, splits, what is refused."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.lra.characters import Alphabet, Text
from ssmbench.tasks.lra.reviews import read_reviews
from ssmbench.tasks.lra.text import Validation
from tests.tasks.tiny import tiny_task

DATA = os.environ.get("SSMBENCH_DATA", "")
published = pytest.mark.skipif(
    not (Path(DATA) / "imdb").is_dir(), reason="SSMBENCH_DATA holds no folder imdb"
)


def task_of(**options):
    entry = tasks.get("text")
    return entry.build(entry.config(**options), batch_size=32, seed=0)


# --- the vocabulary -----------------------------------------------------------------------------


@given(
    texts=st.lists(st.text("abcdefé\u4e00\U0001f600", max_size=12), min_size=1, max_size=9),
    length=st.integers(2, 12),
    vocabulary=st.integers(4, 12),
    least=st.integers(1, 4),
)
def test_tokens_are_the_most_frequent_characters(texts, length, vocabulary, least):
    given_texts = [Text(text, 0) for text in texts]
    alphabet = Alphabet.of(given_texts, length=length, vocabulary=vocabulary, min_frequency=least)
    counts = Counter("".join(text[: length - 1] for text in texts))
    names = {}
    for text in texts:
        tokens = alphabet.tokens(text)
        assert len(tokens) == min(len(text), length - 1) + 1
        assert tokens[-1] == 2
        assert max(tokens) < vocabulary
        names |= dict(zip(text, tokens[:-1], strict=False))
    known = [one for one, token in names.items() if token >= 3]
    assert all(counts[one] >= least for one in known)
    assert len({names[one] for one in known}) == len(known)
    unknown = [counts[one] for one, token in names.items() if token == 1]
    room = len(known) < vocabulary - 3
    assert (
        all(n < least for n in unknown)
        if room
        else max(unknown, default=0) <= min(counts[one] for one in known)
    )


# --- files --------------------------------------------------------------------------------------


def write_tree(folder: Path, change=None) -> Path:
    """Four parts of three reviews; ``change`` gives other contents by part, class and number."""
    root = folder / "aclImdb"
    for part in ("train", "test"):
        for kind in ("neg", "pos"):
            (root / part / kind).mkdir(parents=True)
            for k in (0, 2, 10):
                content = (change or {}).get((part, kind, k), f"{kind} {part} {k}".encode())
                (root / part / kind / f"{k}_{k % 10 + 1}.txt").write_bytes(content)
    (root / "train/unsup").mkdir()
    (root / "train/unsup/0_0.txt").write_text("no class")
    (root / "README").write_text("about")
    return root


def test_tree_and_archives_hold_the_same(tmp_path):
    tree = write_tree(tmp_path / "tree")
    expected = read_reviews(tree)
    names = [(kind, k) for k in (0, 2, 10) for kind in ("neg", "pos")]
    texts = [(f"{kind} train {k}", int(kind == "pos")) for kind, k in names]
    assert [tuple(one) for one in expected["train"]] == texts
    (tmp_path / "imdb").mkdir()
    for name, mode in (("aclImdb_v1.tar.gz", "w:gz"), ("aclImdb.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / "imdb" / name, mode) as archive:
            archive.add(tree, "aclImdb")
        assert read_reviews(tmp_path / "imdb" / name) == expected
    options = {"val_reviews": 2, "min_frequency": 1, "max_length": 10}
    one = task_of(data_dir=str(tmp_path / "tree"), **options)
    other = task_of(data_dir=str(tmp_path), **options)
    assert one.sample("test").u.tolist() == other.sample("test").u.tolist()
    assert (len(one.data_files()), len(other.data_files())) == (0, 1)


def test_the_digest_tells_trees_apart(tmp_path):
    tree = write_tree(tmp_path)
    before = task_of(data_dir=str(tmp_path)).data_digest
    (tree / "train/pos/2_3.txt").write_text("longer than it was")
    assert task_of(data_dir=str(tmp_path)).data_digest != before


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_right_is_refused_with_its_place(tmp_path, packed):
    def place(tree: Path) -> Path:
        if not packed:
            return tree
        with tarfile.open(tree.with_suffix(".tar.gz"), "w:gz") as archive:
            archive.add(tree, "aclImdb")
        return tree.with_suffix(".tar.gz")

    strange = write_tree(tmp_path / "a", {("test", "pos", 2): b"fine\nnot \xff"})
    with pytest.raises(UsageError, match=r"test/pos/2_3\.txt:2: not UTF-8"):
        read_reviews(place(strange))
    lacking = write_tree(tmp_path / "b")
    for file in (lacking / "train/neg").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match=r"no reviews train/neg"):
        read_reviews(place(lacking))


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08 cut off"])
def test_damaged_archives_are_refused(tmp_path, content):
    file = tmp_path / "aclImdb_v1.tar.gz"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"aclImdb_v1\.tar\.gz: cannot be read") as caught:
        task_of(data_dir=str(tmp_path)).split("train")
    assert "\n" not in str(caught.value)


# --- splits -------------------------------------------------------------------------------------


def test_validation_is_drawn_from_the_training_reviews():
    task, again, other = (tiny_task("text", split_seed=seed) for seed in (0, 0, 1))
    places = [task.split(name).places.tolist() for name in ("train", "val")]
    assert sorted(places[0] + places[1]) == list(range(40))
    assert len(places[1]) == 8
    assert again.split("val").places.tolist() == places[1] != other.split("val").places.tolist()
    assert len(task.split("test")) == 40


def test_fewer_test_reviews_are_a_draw_that_the_source_names():
    whole, task = tiny_task("text"), tiny_task("text", test_reviews=10)
    places = task.split("test").places
    assert len(set(places.tolist())) == 10
    assert (places.min() >= 0, places.max() < 40, (np.diff(places) > 0).all()) == (True,) * 3
    target = whole.split("test").batch(places.tolist()).target
    assert task.split("test").batch(range(10)).target.tolist() == target.tolist()
    assert (whole.source, task.source) == (
        "published reviews",
        "published reviews (10 test reviews drawn)",
    )
    with pytest.raises(UsageError, match=r"test_reviews is 41 of 40 reviews"):
        tiny_task("text", test_reviews=41).split("test")


def test_validation_as_published_is_the_test_part():
    task = tiny_task("text", validation=Validation.test)
    assert task.split("val") is task.split("test")
    assert len(task.split("train")) == 40


def test_too_many_reviews_for_validation_are_refused():
    with pytest.raises(UsageError, match="val_reviews is 40 of 40 reviews"):
        tiny_task("text", val_reviews=40).split("train")


@pytest.mark.slow
@published
def test_the_real_reviews():
    task = task_of(data_dir=DATA)
    train, val, test = (task.split(name) for name in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [22_500, 2_500, 25_000]
    assert task.scored_targets("test").bincount().tolist() == [12_500, 12_500]
    assert train.lengths.max() == 4096
    assert int(np.asarray(train.data.values).max()) == 133  # 131 characters: one token is unused
    assert task.sample("val", 1).u.shape[1] == val.lengths[0]
