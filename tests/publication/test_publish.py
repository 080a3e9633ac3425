"""What ``publish`` writes: complete, loadable by others, and without personal data."""

from __future__ import annotations

import getpass
import shutil
import socket
from pathlib import Path

import pytest
import torch
import yaml

import ssmbench as sb
from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.publication.layout import read_leaderboard
from ssmbench.publication.privacy import personal_words, without_paths
from ssmbench.report.collect import collect
from ssmbench.runs.folder import RunFolder

LABELS = [
    "digits/L2RU-s0",
    "digits/Liar-tustin-s0",
    "digits/Passive-s0",
    "digits/S4D-zoh-s0",
    "digits/S4D-zoh-s1",
]


def run_of(published, label: str) -> Path:
    (name,) = (entry.fingerprint for entry in published.entries if entry.label == label)
    return published.folder / "runs" / name


def test_every_complete_run_is_published(published):
    assert [entry.label for entry in read_leaderboard(published.folder)] == LABELS
    assert published.skipped == ()
    for entry in published.entries:
        files = {file.name for file in (published.folder / "runs" / entry.fingerprint).iterdir()}
        assert files == {"config.yaml", "result.json", "model.safetensors", "README.md"}


def test_the_network_comes_back_without_checkpoints(published, suite):
    entry = published.entries[0]
    trained = sb.load(suite / "runs" / entry.fingerprint)
    again = sb.load(published.folder / "runs" / entry.fingerprint)
    u = trained.task.sample_inputs("val", 2)
    assert torch.equal(again.model(u), trained.model(u))


def test_the_result_is_the_same_but_for_where_it_was_computed(published, suite):
    for entry in published.entries:
        before = RunFolder(suite / "runs" / entry.fingerprint).read_result()
        after = jsonio.read(published.folder / "runs" / entry.fingerprint / "result.json")
        kept = {k: v for k, v in before.to_dict().items() if k not in ("provenance", "environment")}
        assert {k: after[k] for k in kept} == jsonio.loads(jsonio.dumps(kept))
        assert after["provenance"]["host"] == ""
        assert {sitting["pid"] for sitting in after["provenance"]["sittings"]} == {0}


def test_nothing_says_who_ran_it_and_where(published):
    files = [
        file for file in published.folder.rglob("*") if file.suffix in (".json", ".yaml", ".md")
    ]
    text = "\n".join(file.read_text() for file in files)
    for word in (str(Path.home()), str(published.folder), f'"{socket.gethostname()}"'):
        assert word not in text
    assert f'"{getpass.getuser()}"' not in text
    assert "host names" in published.left_out


def test_paths_are_taken_out_of_sentences():
    said = "resumed from /scratch/ada/runs/x/last.ckpt, see https://example.org/a/b and a/b/c"
    left = "resumed from last.ckpt, see https://example.org/a/b and a/b/c"
    assert without_paths(said) == left
    assert personal_words({"a": [said]}) == ["/scratch/ada/runs/x/last.ckpt"]
    assert personal_words(left) == []


@pytest.mark.usefixtures("own_plugins")
def test_a_config_that_names_a_folder_is_left_out_unless_asked_for(suite, tmp_path):
    work = tmp_path / "small"
    shutil.copytree(suite, work, ignore=shutil.ignore_patterns("published"))
    name = next(one["fingerprint"] for one in jsonio.read(work / "suite.json")["cells"])
    config = work / "runs" / name / "config.yaml"
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"variant": "/scratch/ada/mine/x"}))
    found = sb.publish(work, output=tmp_path / "out")
    ((label, reason),) = found.skipped
    assert "'/scratch/ada/mine/x'" in reason
    assert "--with-hosts" in reason
    assert label.startswith("digits/")
    kept = sb.publish(work, output=tmp_path / "with", with_hosts=True)
    assert (kept.left_out, len(kept.entries)) == ("", len(LABELS))


@pytest.mark.usefixtures("own_plugins")
def test_incomplete_runs_are_named(suite, tmp_path):
    work = tmp_path / "small"
    shutil.copytree(suite, work, ignore=shutil.ignore_patterns("published"))
    cells = jsonio.read(work / "suite.json")["cells"]
    shutil.rmtree(work / "runs" / cells[0]["fingerprint"])
    found = sb.publish(work, output=tmp_path / "out")
    assert found.skipped == ((cells[0]["label"], "missing"),)
    assert len(found.entries) == len(cells) - 1


@pytest.mark.usefixtures("own_plugins")
def test_publishing_again_replaces_and_adds(suite, published, tmp_path):
    first = published.entries[0].fingerprint
    folder = tmp_path / "board"
    one = sb.publish(suite / "runs" / first, output=folder, licence="mit")
    assert (len(one.entries), one.replaced) == (1, 0)
    (folder / "README.md").write_text("mine")
    (folder / "runs" / first / "stray").write_text("old")
    all_of_them = sb.publish(suite, output=folder)
    assert (len(all_of_them.entries), all_of_them.replaced) == (len(LABELS), 1)
    assert (folder / "README.md").read_text() == "mine"
    assert not (folder / "runs" / first / "stray").exists()
    assert not list(folder.glob(".draft*"))
    licences = {entry.fingerprint: entry.licence for entry in read_leaderboard(folder)}
    assert licences.pop(first) == "mit"
    assert set(licences.values()) == {""}


def test_other_folders_are_refused(suite, tmp_path):
    (tmp_path / "taken" / "runs" / "x").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds something else"):
        sb.publish(suite, output=tmp_path / "taken")
    with pytest.raises(UsageError, match="neither a suite's folder"):
        sb.publish(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        sb.publish(tmp_path / "nothing")


def test_a_card_is_what_hugging_face_reads(published):
    cards = pytest.importorskip("huggingface_hub", reason="the hub's package reads the card")
    for label in LABELS:
        card = cards.ModelCard((run_of(published, label) / "README.md").read_text())
        assert card.data.license == "mit"
        assert card.data.library_name == "ssmbench"
        scores = {one.metric_name: one.metric_value for one in card.data.eval_results}
        entry = next(entry for entry in published.entries if entry.label == label)
        assert scores["test accuracy"] == entry.test
        assert scores["verified gain, largest layer"] == entry.verified
    card = (run_of(published, "digits/L2RU-s0") / "README.md").read_text()
    for words in (
        "declared",
        "proved to be at most",
        "Not proved:",
        "digest of the data",
        "verify",
    ):
        assert words in card


def test_the_sources_of_plugins_are_published(published, plugins):
    (entry,) = (entry for entry in published.entries if entry.plugins)
    (source,) = entry.plugins
    assert (source.where, source.name) == ("model.parametrization", "liar")
    assert source.file == f"plugins/{source.digest}/liar.py"
    assert (published.folder / source.file).read_bytes() == (plugins / "liar.py").read_bytes()


def test_a_report_reads_a_published_folder(published, suite):
    ours, theirs = collect(suite), collect(published.folder)
    labels = [(one.task, one.variant, one.discretizer, one.seed, one.state) for one in theirs]
    wanted = [(one.task, one.variant, one.discretizer, one.seed, one.state) for one in ours]
    assert sorted(labels) == sorted(wanted)
    by_name = {one.fingerprint: one.result for one in ours}
    assert all(one.result.scores == by_name[one.fingerprint].scores for one in theirs)


@pytest.fixture
def one_run(suite, published):
    return suite / "runs" / published.entries[0].fingerprint


def test_a_report_is_written_from_a_published_folder(forger):
    made = forger(*LABELS[:1])
    assert sb.write_report(made.folder).files["markdown"].is_file()
    assert made.verify().accepted  # report/ is its owner's


class Hub:
    """Stands in for the client of the hub."""

    def __init__(self, error: Exception | None = None):
        self.calls: list[tuple[str, dict]] = []
        self.error = error

    def create_repo(self, repo: str, **options) -> None:
        if self.error:
            raise self.error
        self.calls.append((repo, options))

    def upload_folder(self, **options) -> None:
        self.calls.append(("upload", options))


def test_a_folder_is_uploaded(one_run, tmp_path):
    hub = Hub()
    found = sb.publish(one_run, output=tmp_path / "out", hub="ada/gains", hub_client=hub)
    assert found.uploaded == "https://huggingface.co/datasets/ada/gains"
    (_, made), (_, sent) = hub.calls
    assert made == {"repo_type": "dataset", "exist_ok": True}
    assert (sent["repo_id"], sent["folder_path"]) == ("ada/gains", str(tmp_path / "out"))


def test_the_hub_s_refusal_is_one_line(one_run, tmp_path, monkeypatch):
    output = tmp_path / "out"
    with pytest.raises(UsageError, match="ada/gains: OSError: no token"):
        sb.publish(one_run, output=output, hub="ada/gains", hub_client=Hub(OSError("x\nno token")))
    with pytest.raises(UsageError, match="OWNER/NAME"):
        sb.publish(one_run, output=output, hub="gains", hub_client=Hub())
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'ssmbench\[hub\]'"):
        sb.publish(one_run, output=output, hub="ada/gains")
