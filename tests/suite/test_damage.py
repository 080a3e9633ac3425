"""Every file of a finished run damaged in every way: one row is named, and that run alone is run
again; nothing ends in a traceback."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import yaml

from ssmbench.runs.folder import RunFolder
from ssmbench.suite.grid import load_suite
from ssmbench.suite.session import missing
from ssmbench.training.checkpoints import FOLDER
from tests.conftest import TINY

RANDOM = np.random.default_rng(0).bytes(3000)


def _npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _flipped(content: bytes) -> bytes:
    start, end = len(content) // 3, len(content) // 2
    return content[:start] + bytes(byte ^ 255 for byte in content[start:end]) + content[end:]


#: What a file's content becomes.
WAYS = {
    "empty": lambda content: b"",
    "half of it": lambda content: content[: len(content) // 2],
    "random bytes": lambda content: RANDOM,
    "some bytes changed": lambda content: _flipped(content),
    "a list": lambda content: b"[1, 2]",
    "a number": lambda content: b"3",
    "null": lambda content: b"null",
    "no keys": lambda content: b"{}",
    "deep": lambda content: b"[" * 100_000,
    "wrong values": lambda content: b'{"state": 3, "status": "finished", "gain": 1, "cells": {}}',
    "an npz of words": lambda content: _npz(layer0=np.array(["a", "b"])),
    "an npz of nothing": lambda content: _npz(),
}
FILES = (
    "config.yaml",
    "status.json",
    "result.json",
    "poles.npz",
    "worst_input.npz",
    "metrics.jsonl",
    f"{FOLDER}/best.ckpt",
    f"{FOLDER}/last.ckpt",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A suite of two finished runs and its file."""
    import sys

    from ssmbench import cli

    place = tmp_path_factory.mktemp("finished")
    base = TINY | {"model": {"d_model": 4, "n_layers": 1, "parametrization": "l2ru"}}
    variants = {"One": {}, "Other": {"model": {"d_model": 2}}}
    suite = {"name": "s", "base": base, "tasks": {"digits": {}}, "variants": variants}
    (place / "suite.yaml").write_text(yaml.safe_dump(suite))
    with pytest.MonkeyPatch.context() as patch:
        command = ["ssmbench", "suite", str(place / "suite.yaml"), "-o", str(place / "out")]
        patch.setattr(sys, "argv", [*command, "--launcher", "inline", "--json"])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert not stopped.value.code
    return place


@pytest.fixture
def copy(finished, workplace):
    shutil.copytree(finished, workplace / "copy", symlinks=True)
    return workplace / "copy"


def _folders(copy) -> dict[str, RunFolder]:
    cells = json.loads((copy / "out" / "suite.json").read_text())["cells"]
    return {c["variant"]: RunFolder(copy / "out" / "runs" / c["fingerprint"]) for c in cells}


def _missing(copy) -> list[str]:
    runs = missing(load_suite(copy / "suite.yaml").runs(copy / "out"))
    return [run.config["variant"] for run in runs]


def damage(folder: RunFolder, file: str, way: str) -> None:
    path = folder.path / file
    path.write_bytes(WAYS[way](path.read_bytes()))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_damaged_is_run_again_and_no_other_run(copy, way):
    """One file after the other, without training."""
    for file in FILES:
        folder = _folders(copy)["One"]
        saved = (folder.path / file).read_bytes()
        damage(folder, file, way)
        expected = file in ("status.json", "result.json", "poles.npz")
        assert _missing(copy) == (["One"] if expected else []), file
        (folder.path / file).write_bytes(saved)


@pytest.mark.parametrize("way", ["half of it", "random bytes", "a list", "wrong values"])
@pytest.mark.parametrize("file", ["status.json", "result.json", "poles.npz"])
def test_a_report_names_the_damaged_run_and_keeps_the_others(copy, ssmbench, way, file):
    damage(_folders(copy)["One"], file, way)
    answer = ssmbench("report", copy / "out", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = {row["variant"]: row for row in json.loads(answer.out)["rows"]}
    one, other = rows.pop("One"), *rows.values()
    assert (one["finished"], other["finished"], other["outcome"]) == (0, 1, "finished")
    assert one["outcome"] == "missing" or file in one["outcome"]


def test_every_run_damaged_is_every_run_again(copy, ssmbench):
    command = ("suite", copy / "suite.yaml", "-o", copy / "out", "--json", "--launcher", "inline")
    before = {v: f.result.scores for v, f in _folders(copy).items()}
    for folder in _folders(copy).values():
        damage(folder, "poles.npz", "half of it")
    dry = ssmbench("suite", copy / "suite.yaml", "-o", copy / "out", "--dry-run")
    assert "2 runs, 0 complete" in dry.out
    answer = ssmbench(*command)
    assert answer.code == 0
    assert {v: f.result.scores for v, f in _folders(copy).items()} == before
    assert "nothing to run" in ssmbench(*command).err


@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("way", ["half of it", "random bytes", "some bytes changed"])
def test_a_damaged_checkpoint_does_not_block_a_run(copy, ssmbench, file, way):
    folder = _folders(copy)["One"]
    scores = folder.result.scores
    damage(folder, f"{FOLDER}/{file}", way)
    (folder.path / "result.json").unlink()
    answer = ssmbench(
        "suite", copy / "suite.yaml", "-o", copy / "out", "--json", "--launcher", "inline"
    )
    assert answer.code == 0
    assert f"warning: {folder.path}/{FOLDER}/{file}: not a checkpoint" in answer.err
    assert folder.result.scores == scores


@pytest.mark.parametrize(
    "way", ["empty", "half of it", "random bytes", "some bytes changed", "a list"]
)
def test_an_attack_on_damaged_weights_names_the_file(copy, ssmbench, way):
    folder = _folders(copy)["One"]
    damage(folder, f"{FOLDER}/best.ckpt", way)
    answer = ssmbench("gain", folder.path, "--attack")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert f"{folder.path}/{FOLDER}/best.ckpt: not a checkpoint" in line


@pytest.mark.parametrize("way", [w for w in WAYS if "npz" not in w])
def test_a_damaged_suite_file_is_one_line(copy, ssmbench, way):
    file = copy / "out" / "suite.json"
    file.write_bytes(WAYS[way](file.read_bytes()))
    answer = ssmbench("report", copy / "out")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
