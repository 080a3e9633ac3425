"""Retrieval: pairs in both layouts, and what is refused."""

from __future__ import annotations

import pytest

from ssmbench.errors import UsageError
from ssmbench.registry import tasks
from ssmbench.tasks.lra.documents import read_pairs

LINES = [
    "1\tP01\tP02\tabcabca\tcab",
    '0.0\tP03\tP04\tthe "text" of\ta',
    "1.0\tP05\tP06\t\tempty before",
]


def write_files(folder, lines=LINES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "eval", "test"):
        (folder / f"new_aan_pairs.{name}.tsv").write_text("".join(f"{x}\n" for x in lines))


@pytest.mark.parametrize("layout", ["tsv_data", "aan", "lra_release/lra_release/tsv_data", "."])
def test_pairs_are_read_in_every_layout(tmp_path, layout):
    write_files(tmp_path / layout)
    entry = tasks.get("retrieval")
    config = entry.config(data_dir=str(tmp_path), max_length=6)
    task = entry.build(config, batch_size=2, seed=0)
    batch = task.sample("val")
    assert batch.u.shape == (3, 2, 6)
    assert batch.target.tolist() == [1, 0, 1]
    assert batch.lengths.tolist() == [[6, 4], [6, 2], [1, 6]]
    first, second = batch.u[0].tolist()
    a, b, c = first[:3]
    assert first == [a, b, c, a, b, 2]
    assert second == [c, a, b, 2, 0, 0]
    assert min(a, b, c) >= 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1\tP1\tP2\tone text", r"x\.tsv:2: 4 columns; expected label, two names and two texts"),
        (b"1\tP1\tP2\tone\ttwo\tthree", r"x\.tsv:2: 6 columns"),
        (b"2\tP1\tP2\tone\ttwo", r"x\.tsv:2: the label is '2'; it must be 0 or 1"),
        (b"1\tP1\tP2\tone\t\xff", r"x\.tsv:2: not UTF-8"),
    ],
)
def test_malformed_lines_are_refused_with_their_number(tmp_path, line, message):
    file = tmp_path / "x.tsv"
    file.write_bytes(b"0\tP1\tP2\ta\tb\n" + line + b"\n")
    with pytest.raises(UsageError, match=message):
        list(read_pairs(file))


def test_files_that_are_missing_or_empty_are_refused(tmp_path):
    entry = tasks.get("retrieval")
    write_files(tmp_path)
    (tmp_path / "new_aan_pairs.eval.tsv").write_text("")
    task = entry.build(entry.config(data_dir=str(tmp_path)), batch_size=2, seed=0)
    with pytest.raises(UsageError, match=r"eval\.tsv: no pairs"):
        task.split("train")
    (tmp_path / "new_aan_pairs.eval.tsv").unlink()
    with pytest.raises(UsageError, match=r"expected tsv_data/new_aan_pairs\.eval\.tsv"):
        task.split("train")
