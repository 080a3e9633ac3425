"""Every kind of forgery is planted, with all digests made right, and rejected by name."""

from __future__ import annotations

import os
import re
import time
from types import SimpleNamespace

import pytest
import torch
import yaml

from ssmbench import jsonio, registry
from ssmbench.errors import UsageError
from ssmbench.library.publications import publish
from ssmbench.publication.checks.certified import check_certified
from ssmbench.publication.checks.processes import Limits
from ssmbench.publication.checks.submission import read_config
from ssmbench.publication.layout import DIGESTS, LEADERBOARD, read_leaderboard, read_result
from ssmbench.publication.verify import verify
from ssmbench.publication.weights import values_digest
from ssmbench.publication.write import write_digests
from ssmbench.results import RobustnessPoint
from tests.publication.conftest import LIAR

S4D, OTHER, L2RU, PASSIVE, LIAR_RUN = (
    "digits/S4D-zoh-s0",
    "digits/S4D-zoh-s1",
    "digits/L2RU-s0",
    "digits/Passive-s0",
    "digits/Liar-tustin-s0",
)


@pytest.fixture
def own_plugins(plugins, monkeypatch):
    """The caller has the liar among the plugins of its own."""
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, str(plugins))
    with registry.isolated(rediscover=True):
        yield plugins


@pytest.fixture
def no_plugins(monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    with registry.isolated(rediscover=True):
        for kind in registry.KINDS.values():
            kind._entries.pop("liar", None)
        yield


# --- honest runs ----------------------------------------------------------------------------------


def test_honest_runs_are_accepted_with_their_figures(forger):
    made = forger(S4D, L2RU)
    found = made.verify(with_data=True)
    assert [str(one) for one in found.verdicts if not one.accepted] == []
    assert found.problems == ()
    for entry, verdict in zip(made.entries, found.verdicts, strict=True):
        computed = verdict.findings
        assert computed.verified == pytest.approx(entry.verified, rel=1e-9)
        assert computed.network_bound == pytest.approx(entry.network_bound, rel=1e-9)
        assert computed.declared == entry.declared
        assert computed.test == pytest.approx(entry.test)
        assert any(note.startswith("attacked gains") for note in verdict.not_checked)


def test_a_repository_s_own_files_are_no_part_of_it(forger):
    made = forger(S4D)
    (made.folder / ".git").mkdir()
    (made.folder / ".git" / "HEAD").write_text("ref: x")
    (made.folder / "README.md").write_text("mine")
    (made.folder / "LICENSE").write_text("mine")
    assert made.verify().accepted


# --- false declarations ---------------------------------------------------------------------------


def test_a_declaration_below_the_matrices_gain_is_rejected(forger):
    made = forger(S4D)
    made.layers(declared=0.5, attacked=0.1)
    reasons = made.reasons()
    assert "false declaration: layer 0 declares 0.5, but has the verified gain" in reasons


def test_a_verified_gain_below_that_of_the_weights_is_rejected(forger):
    made = forger(L2RU)
    made.layers(verified=0.25, verified_bound=0.25, declared=0.25, attacked=0.1)
    reasons = made.reasons()
    assert re.search(r"verified gain is 0.25, but that of the weights is 0.9\d+", reasons)
    assert "false declaration: layer 0 declares 0.25" in reasons
    assert re.search(r"declared gain is 0.25, but that of the weights is 1", reasons)


def test_a_network_s_bound_below_that_of_the_weights_is_rejected(forger):
    made = forger(S4D)
    lie = {"bound": 0.02, "product_bound": 0.2, "attacked": 0.01, "declared": 0.3}
    made.result(lambda r: r["gain"]["network"].update(lie))
    reasons = made.reasons()
    assert re.search(r"network: bound is 0.2, but that of the weights is 0\.\d+", reasons)
    assert re.search(r"network: bound is 0.02, but 0\.\d+ is proved here", reasons)
    assert "network: gamma is 0.3, but that of the weights is none" in reasons


def measures_of(made):
    (layer,) = read_result(made.folder, made.entries[0]).gain.layers
    return {one.name: one for one in layer.measures}


def test_measures_are_computed_again_also_one_that_is_only_declared(forger):
    made = forger(PASSIVE)
    found = measures_of(made)
    assert list(found) == ["peak_to_peak", "band_gain(low=0.5)", "passivity"]
    assert found["passivity"].declared == 0.05 <= found["passivity"].lower
    verdict = made.verify().verdicts[0]
    assert verdict.accepted, verdict.reasons
    assert not any("rounding" in note for note in verdict.not_checked)


@pytest.mark.parametrize(
    ("name", "lie", "reason"),
    [
        ("peak_to_peak", {"value": 0.5, "lower": 0.5, "upper": 0.5}, "peak_to_peak: value is 0.5"),
        ("peak_to_peak", {"upper": 2**-0.5}, "peak_to_peak: upper is 0.707107"),
        ("peak_to_peak", {"attacked": 1e3}, "peak_to_peak: attacked 1000, but"),
        ("peak_to_peak", {"details": {"steps": 1.0}}, "peak_to_peak: steps is 1"),
        ("peak_to_peak", {"unit": "dB"}, "peak_to_peak: unit is 'dB'"),
        ("passivity", {"declared": 0.07}, "passivity: declared is 0.07, but the layer has 0.05"),
        ("passivity", {"lower": None}, "passivity: lower is none"),
        ("passivity", {"note": "dissipative"}, "passivity: says 'dissipative'"),
        ("passivity", {"name": "h2"}, "h2: a measure that neither the config nor the layer"),
        ("peak_to_peak", {"name": "passivity"}, "the config asks for it, but it is missing"),
        ("peak_to_peak", {"name": "passivity"}, "has a measure twice"),
    ],
)
def test_a_measure_that_the_weights_do_not_have_is_rejected(forger, name, lie, reason):
    made = forger(PASSIVE)

    def forged(result):
        for one in result["gain"]["layers"][0]["measures"]:
            one |= lie if one["name"] == name else {}

    made.result(forged)
    assert reason in made.reasons()


def test_an_attack_that_exceeds_what_is_proved_is_rejected(forger):
    made = forger(S4D)
    made.layers(attacked=1e3)
    assert "attacked gain 1000 exceeds what is proved" in made.reasons()


def test_a_figure_that_the_layers_do_not_have_is_rejected(forger):
    made = forger(S4D)
    made.result(lambda r: r["gain"].update(verified=0.1))
    assert "gain.verified is 0.1, but the worst of its layers is" in made.reasons()


def test_poles_of_other_weights_are_rejected(forger):
    made = forger(S4D)
    made.layers(spectral_radius=0.5, margin=0.5)
    reasons = made.reasons()
    assert "spectral radius is 0.5, but that of the weights is 0.99" in reasons


def test_a_plugin_that_declares_less_than_its_matrices_have_is_rejected(forger, own_plugins):
    made = forger(LIAR_RUN)
    assert "a bound does not hold, by its own result" in made.reasons()
    made.layers(verified=0.01, verified_bound=0.01, attacked=0.005, declared=0.01)
    reasons = made.reasons()
    assert re.search(r"false declaration: layer 0: verified \S+ > declared 0.01", reasons)


# --- plugins --------------------------------------------------------------------------------------


def test_a_submitted_plugin_is_not_executed(forger, no_plugins, tmp_path):
    made = forger(LIAR_RUN)
    trap = tmp_path / "executed"
    (source,) = made.folder.glob("plugins/*/liar.py")
    source.write_text(source.read_text() + f"\nopen({str(trap)!r}, 'w')\n")
    (made.folder / "plugins" / "trap.py").write_text(f"open({str(trap)!r}, 'w')\n")
    write_digests(made.folder)
    os.chdir(made.folder)  # its plugins are in ./plugins then
    found = made.verify()
    (verdict,) = found.verdicts
    assert (verdict.outcome, found.accepted) == ("not verified", False)
    assert "needs the plugin 'liar'" in verdict.reasons[0]
    assert found.problems == ("plugins/trap.py: not a file of a published run",)
    assert not trap.exists()


def test_another_plugin_of_the_same_name_does_not_do(forger, no_plugins, tmp_path, monkeypatch):
    made = forger(LIAR_RUN)
    other = tmp_path / "other"
    other.mkdir()
    (other / "liar.py").write_text(LIAR + "# another\n")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, str(other))
    with registry.isolated(rediscover=True):
        (verdict,) = made.verify().verdicts
    assert verdict.outcome == "not verified"


# --- weights --------------------------------------------------------------------------------------


def test_a_tampered_checkpoint_is_rejected(forger):
    made = forger(S4D)
    before = (made.folder / DIGESTS).read_text()

    def louder(weights):
        weights["blocks.0.layer.parametrization.C"] *= 3

    made.weights(louder)
    after = made.reasons()
    assert re.search(r"verified gain is \S+, but that of the weights is", after)
    (made.folder / DIGESTS).write_text(before)
    assert "model.safetensors: changed: its SHA-256 is not that of digests.json" in made.reasons()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("decoder.bias"), "has no decoder.bias"),
        (lambda w: w.update(more=torch.ones(2)), "the network has no more"),
        (lambda w: w.update({"decoder.bias": torch.ones(3)}), r"float32 of shape \(3,\), not"),
        (
            lambda w: w.update({"decoder.bias": w["decoder.bias"].double()}),
            r"decoder.bias is float64 of shape \(10,\), not float32",
        ),
        (lambda w: w["decoder.weight"].fill_(float("nan")), "network: bound is"),
    ],
    ids=["missing", "extra", "shape", "precision", "nan"],
)
def test_other_weights_than_the_network_has_are_rejected(forger, change, reason):
    made = forger(S4D)
    made.weights(change)
    assert re.search(reason, made.reasons())


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_what_is_not_safetensors_is_rejected(forger, content):
    made = forger(S4D)
    (made.run() / "model.safetensors").write_bytes(content)
    write_digests(made.folder)
    assert "model.safetensors: not safetensors" in made.reasons()


# --- copies ---------------------------------------------------------------------------------------


def test_copied_weights_are_rejected(forger):
    made = forger(S4D, OTHER)
    (made.run(1) / "model.safetensors").write_bytes(
        (made.run(0) / "model.safetensors").read_bytes()
    )
    write_digests(made.folder)
    for index, other in ((0, OTHER), (1, S4D)):
        assert f"its weights are those of {other}" in made.reasons(index)


def test_weights_are_recognised_in_another_order_precision_and_under_other_names():
    weights = {"a": torch.randn(4, 3), "b": torch.randn(5, dtype=torch.complex64)}
    order = torch.randperm(4)
    other = {"x": weights["a"][order].double(), "y": weights["b"].to(torch.complex128)}
    assert values_digest(weights) == values_digest(other)
    assert values_digest(weights) != values_digest({**weights, "a": weights["a"] + 1e-6})


def test_a_result_beside_its_copy_under_another_config_is_rejected(forger):
    made = forger(S4D, OTHER)
    file = made.run(0) / "result.json"
    original = jsonio.read(file)
    wanted = made.entries[1]
    made.result(
        lambda result: result.update(
            original | {"seed": wanted.seed, "fingerprint": wanted.fingerprint}
        ),
        1,
    )
    reasons = made.reasons(1)
    assert f"its attacked gains are those of {S4D}" in reasons
    assert "verified gain is" in reasons
    assert f"its attacked gains are those of {OTHER}" in made.reasons(0)


def test_one_training_measured_twice_is_no_copy(forger, suite, tmp_path):
    made = forger(S4D)
    again = tmp_path / "again"
    publish(suite / "runs" / made.entries[0].fingerprint, output=again)
    twin = made.entries[0].fingerprint
    folder = made.run(0)
    made.config(lambda config: config["analysis"].update(attack_seed=5))
    renamed = made.entries[0]
    (again / "runs" / twin).rename(folder.with_name(twin))
    made.write([renamed, *read_leaderboard(again)])
    assert made.verify().accepted


def test_another_task_under_the_same_name_is_rejected(forger):
    made = forger(S4D, OTHER, L2RU)
    made.config(lambda config: config["task"].update(test_images=120), 0)
    assert "task 'digits' has other options or data than in" in made.reasons(0)


# --- identity and files ---------------------------------------------------------------------------


def test_a_result_of_another_config_is_rejected(forger):
    made = forger(S4D)
    config = made.run() / "config.yaml"
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"batch_size": 16}))
    write_digests(made.folder)
    assert "config.yaml has the fingerprint" in made.reasons()
    config.write_text(yaml.safe_dump(content))
    made.result(lambda result: result.update(fingerprint="0" * 12, seed=4, discretizer="rk4"))
    reasons = made.reasons()
    assert "result.json is that of the run '000000000000'" in reasons
    assert "result.json: seed is 4, but config.yaml has 0" in reasons
    assert "discretizer is 'rk4', but config.yaml has 'zoh'" in reasons


def test_figures_of_the_list_that_the_result_has_not_are_rejected(forger):
    made = forger(S4D)
    made.listed(test=0.99, steps=10**6)
    reasons = made.reasons()
    assert "leaderboard.json: test is 0.99, but result.json has" in reasons
    assert "steps is 1000000, not in 1..64" in reasons


def test_an_invented_score_is_rejected_where_the_data_are(forger):
    made = forger(S4D)
    made.result(lambda result: result["scores"].update(test=0.9))
    assert made.verify().accepted
    assert re.search(
        r"test accuracy is 0.9, but that of the weights is", made.reasons(with_data=True)
    )


def test_a_certificate_that_an_adversary_disproves_is_rejected(forger):
    """Needs no data: the run's own adversary found predictions that are said to be certified."""
    made = forger(S4D)

    def certify_all(result):
        for point in result["robustness"]:
            if point["kind"] == "certified":
                point["score"] = 1.0

    made.result(certify_all)
    assert "certified 1 under disturbances of" in made.reasons()


def test_a_certificate_above_that_of_the_weights_is_rejected_where_the_data_are(forger):
    made = forger(S4D)
    honest = made.verify(with_data=True)
    assert honest.accepted

    def enlarge(result):
        result["certified"]["median_radius"] = 0.5
        adversarial = {p["energy"]: p for p in result["robustness"] if p["kind"] == "adversarial"}
        for point in result["robustness"]:
            if point["kind"] == "certified" and point["energy"] > 0:
                point["score"] = adversarial[point["energy"]]["score"] = 0.9

    made.result(enlarge)
    assert made.verify().accepted
    reasons = made.reasons(with_data=True)
    assert "certified 0.9 under disturbances of 3, but the gains of the weights prove" in reasons
    assert "certified median radius 0.5, but the weights have" in reasons


def test_files_that_do_not_belong_there_are_named(forger, tmp_path):
    made = forger(S4D, L2RU)
    (tmp_path / "secret").write_text("x")
    (made.run(0) / "model.safetensors").unlink()
    (made.run(0) / "model.safetensors").symlink_to(tmp_path / "secret")
    (made.run(1) / "extra.bin").write_text("x")
    (made.run(1) / "README.md").unlink()
    (made.folder / "runs" / "abc").mkdir()
    (made.folder / "runs" / "abc" / "x").write_text("x")
    os.mkfifo(made.folder / "pipe")
    digests = jsonio.read(made.folder / DIGESTS)
    digests["files"]["../../secret"] = "0" * 64
    (made.folder / DIGESTS).write_text(jsonio.dumps(digests))
    found = made.verify()
    by_label = {one.label: "; ".join(one.reasons) for one in found.verdicts}
    assert "model.safetensors: a symbolic link" in by_label[S4D]
    assert "extra.bin: not a file of a published run" in by_label[L2RU]
    assert "README.md: missing" in by_label[L2RU]
    problems = "; ".join(found.problems)
    for words in ("pipe: not a regular file", "../../secret: missing", "runs/abc: x: not listed"):
        assert words in problems


@pytest.mark.parametrize(
    "entries",
    ["[]", '{"schema": 1}', '{"schema": 9, "entries": []}', "{" * 10**5, "1" * 10**5, "\x00"],
)
def test_what_is_not_a_published_folder_is_bad_input(tmp_path, entries):
    (tmp_path / LEADERBOARD).write_text(entries)
    with pytest.raises(UsageError):
        verify(tmp_path)


def test_a_run_named_like_a_path_is_bad_input(forger):
    made = forger(S4D)
    made.listed(fingerprint="../../../x")
    with pytest.raises(UsageError, match="names no run"):
        made.verify()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "a YAML anchor is not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "a YAML tag is not allowed"),
        ("a: ${oc.env:HOME}\n", "a reference"),
        ("a: [1, 2\n", "not YAML"),
        ("[" * 5000, "too many brackets"),
        ("#" * 2**20, "are too many"),
        ("- 1\n", "must hold a mapping"),
        ("a: " + "9" * 5000, "cannot be read"),
    ],
    ids=["anchor", "tag", "reference", "syntax", "depth", "size", "list", "number"],
)
def test_a_config_is_plain_values(tmp_path, text, reason):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=reason) as found:
        read_config(file)
    assert "\n" not in str(found.value)
    assert str(tmp_path) not in str(found.value)


@pytest.mark.parametrize(
    "figure",
    ["1" * 400, "1e999", '"inf"', "null", "[]"],
    ids=["long", "huge", "inf", "null", "list"],
)
def test_numbers_that_are_none_do_no_harm(forger, figure):
    made = forger(S4D)
    file = made.run() / "result.json"
    text = re.sub(r'"verified": [\d.]+', f'"verified": {figure}', file.read_text())
    file.write_text(text)
    write_digests(made.folder)
    assert made.reasons()


# --- processes ------------------------------------------------------------------------------------


def test_each_run_is_checked_in_a_process_of_its_own(forger, no_plugins, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    made = forger(LIAR_RUN, L2RU)
    made.layers(verified=0.01, verified_bound=0.01, attacked=0.005, declared=0.01)
    found = verify(made.folder, limits=Limits(120, jobs=2, run_plugins=True))
    by_label = {one.label: one for one in found.verdicts}
    assert by_label[L2RU].accepted
    assert "false declaration" in by_label[LIAR_RUN].reasons[0]
    start = time.monotonic()
    late = verify(made.folder, limits=Limits(0.01))
    assert {one.reasons[0] for one in late.verdicts} == {"not checked within 0.01 s"}
    assert time.monotonic() - start < 60


def test_the_command_line(forger, ssmbench):
    made = forger(L2RU)
    answer = ssmbench("verify", made.folder)
    assert (answer.code, answer.err) == (0, "")
    assert f"{L2RU} ({made.entries[0].fingerprint}): accepted" in answer.out
    made.layers(declared=0.5)
    answer = ssmbench("verify", made.folder, "--json")
    assert answer.code == 1
    assert jsonio.loads(answer.out)["runs"][0]["outcome"] == "rejected"
    answer = ssmbench("verify", made.run())
    assert (answer.code, answer.out) == (2, "")
    assert "not a published folder" in answer.err
    assert ssmbench("publish", made.run()).code == 2


def test_certified_scores_without_what_they_are_of_are_rejected():
    point = RobustnessPoint(0.03, "certified", 0.99)
    result = SimpleNamespace(certified=None, robustness=[point])
    found = check_certified(None, result, None)
    assert found.rejected == ("has certified scores, but does not say of which predictions",)
