"""``ssmbench export``: files that run as the run's network does, or one sentence and none."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

import ssmbench as sb
from ssmbench.config.schema import SamplingConfig
from ssmbench.exporters.npz import Npz
from ssmbench.exporters.onnx import Onnx
from ssmbench.nn.freeze import freeze
from ssmbench.registry import exporters
from ssmbench.runs.export import EXPORTS
from ssmbench.runs.load import load_trained

QUICK = {"task.length": 12, "analysis.attack_steps": 1, "analysis.attack_restarts": 1}
#: Programs of torch.export take seconds; the conformance checks write and run them.
FORMATS = ("npz", "c", "onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one layer with random matrices, without training."""
    place, random = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    layer = {name: random.standard_normal((3, 3)) for name in "BCD"}
    layer["A"] = np.diag([0.9, 0.5, -0.7])
    arrays = {f"blocks.0.layer.{name}": np.float32(matrix) for name, matrix in layer.items()}
    np.savez(place / "layer.npz", **arrays)
    return sb.import_run(place / "layer.npz", "npz", QUICK, output=place / "run").folder


@pytest.mark.parametrize("format", FORMATS)
def test_export_prints_its_files_and_gains(format, run, ssmbench, workplace):
    made = ssmbench("export", run, f"--{format}", "--weights", "int8", "-o", "out", "--json")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    network = sb.load_exported(told["files"][0])
    assert dict(network.metadata) == told["metadata"]
    assert told["difference"] < 1e-5 < told["of_weights"] < 0.2


def test_export_says_how_closely_it_agrees_and_what_the_gains_are(run, ssmbench, workplace):
    shown = ssmbench("export", run, "--npz", "-o", "out")
    assert "written: out/network.npz" in shown.out
    assert "gain at most" in shown.out
    assert "agrees with the network's stream" in shown.out


@pytest.mark.parametrize("format", [*FORMATS, "torch-export"])
def test_each_flag_chooses_its_format(format, run, ssmbench, monkeypatch):
    chosen = []

    def note(run, format, **options):
        chosen.append(format)
        raise sb.UsageError("only noted")

    monkeypatch.setattr("ssmbench.library.exports.export_run", note)
    assert ssmbench("export", run, f"--{format}").code == 2
    assert chosen == [format.replace("-", "_")]
    assert chosen[0] in exporters


def test_a_missing_package_is_one_sentence(run, ssmbench, monkeypatch):
    monkeypatch.setattr(Onnx, "needs", ("no_such_package",))
    answer = ssmbench("export", run, "--onnx")
    assert answer.code == 2
    assert 'needs no_such_package (pip install "ssmbench[onnx]")' in answer.err


@pytest.mark.parametrize("format", FORMATS)
def test_exported_network_predicts_as_the_run_does(format, run, tmp_path):
    report = sb.export_run(run, format, output=tmp_path)
    exported, frozen = sb.load_exported(report.files[0]), freeze(sb.load(run).model)
    for batch, steps in ((1, 1), (2, 5), (3, 40)):
        u = torch.randn(batch, steps, report.metadata["input"]["width"])
        with torch.no_grad():
            wanted = frozen(u).numpy()
        y, _ = exported.sequence(u.numpy())
        np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


def test_metadata_say_what_the_file_is(run, tmp_path):
    about = sb.export_run(run, "npz", output=tmp_path).metadata
    gains = sb.load(run).gains
    assert len(about["fingerprint"]) == 12
    assert about["config"] == json.loads(json.dumps(dict(sb.load(run).config)))
    for layer, of_run in zip(about["gains"]["layers"], gains.layers, strict=True):
        assert layer["verified"] == pytest.approx(of_run.verified, rel=1e-6)
    product = gains.network.product_bound or gains.network.bound
    bounds = {(b["claim"], b["from_steps"]): b for b in about["gains"]["network"]}
    found = bounds["incremental", 1]["bound"]
    assert found == (None if math.isinf(product) else pytest.approx(product, rel=1e-6))
    assert about["functions"]["sequence"]["u"] == ["B", "L", about["input"]["width"]]


def stored_matrix(file, name):
    """The numbers of an array of an .npz, from codes and scales."""
    codes = file[name].astype(float)
    return codes * file[f"{name}.scale"] if f"{name}.scale" in file.files else codes


def gains_of_file(path):
    """By NumPy alone, of affine maps around one system: the largest gain at 20001 frequencies, and
    its product with the norms of the affine maps."""
    z = np.exp(1j * np.linspace(0, np.pi, 20001))[:, None, None]
    with np.load(path) as file:
        kinds = [op["kind"] for op in json.loads(str(file["description"]))["operations"]]
        assert kinds == ["affine", "dense", "affine"]
        A, B, C, D = (stored_matrix(file, f"1.{name}")[0] for name in "ABCD")
        norms = [np.linalg.norm(stored_matrix(file, f"{k}.weight"), 2) for k in (0, 2)]
    G = C @ np.linalg.solve(z * np.eye(len(A)) - A, B + 0j) + D
    peak = float(np.linalg.norm(G, 2, axis=(1, 2)).max())
    return peak, peak * math.prod(norms)


def test_gains_are_those_of_the_matrices_in_the_file(run, tmp_path):
    """Not those of the network before its matrices were stored in fewer bits."""
    found = {}
    for weights in ("float32", "float16", "int8"):
        report = sb.export_run(run, "npz", weights=weights, output=tmp_path)
        peak, product = gains_of_file(report.files[0])
        gains = report.metadata["gains"]
        assert gains["layers"][0]["verified"] == pytest.approx(peak, rel=1e-6)
        for bound in gains["network"]:
            assert product <= bound["bound"] * (1 + 1e-12)
            assert bound["bound"] == pytest.approx(product, rel=1e-6)
        found[weights] = peak
    assert abs(found["int8"] / found["float32"] - 1) > 1e-4
    assert abs(found["float16"] / found["float32"] - 1) > 1e-5


def test_without_an_output_the_run_keeps_its_exports(run):
    report = sb.export_run(run, "npz")
    assert report.files == (str(run / EXPORTS / "network.npz"),)
    assert sb.load(run).state == "finished"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "choose one format"),
        (("--npz", "--c"), "choose one format"),
        (("--format", "nzp"), "did you mean 'npz'"),
        (("--npz", "--weights", "int9"), "did you mean 'int8'"),
    ],
)
def test_what_cannot_be_exported_ends_with_one_sentence(arguments, message, run, ssmbench):
    answer = ssmbench("export", run, *arguments)
    assert answer.code == 2, answer
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert message in lines[0]


def test_two_networks_have_names_of_their_own(run, ssmbench, workplace):
    for name in ("left", "right"):
        assert ssmbench("export", run, "--c", "--name", name, "-o", "out").code == 0
    (workplace / "main.c").write_text(
        "#define LEFT_DECLARATIONS\n#define RIGHT_DECLARATIONS\n"
        '#include "out/left.c"\n#include "out/right.c"\n'
        "int main(void) { left_state a; right_state b; left_init(&a); right_init(&b); return 0; }\n"
    )
    files = ["main.c", "out/left.c", "out/right.c"]
    subprocess.run(["cc", "-std=c99", *files, "-o", "both", "-lm"], check=True, cwd=workplace)
    answer = ssmbench("export", run, "--npz", "--name", "a b")
    assert answer.code == 2
    assert "allowed: a letter" in answer.err


def test_the_export_of_another_run_is_not_replaced(run, ssmbench, workplace, monkeypatch):
    assert ssmbench("export", run, "--npz", "-o", "out").code == 0
    assert ssmbench("export", run, "--npz", "-o", "out").code == 0
    monkeypatch.setattr("ssmbench.runs.export.fingerprint", lambda config: "another")
    answer = ssmbench("export", run, "--npz", "-o", "out")
    assert answer.code == 2
    assert "the export of another run" in answer.err


def test_a_network_that_reads_the_time_between_samples_is_refused(run, ssmbench, monkeypatch):
    trained = load_trained(run)
    sampling = SamplingConfig(dropped=0.3)
    uneven = replace(trained, config=replace(trained.config, sampling=sampling))
    monkeypatch.setattr("ssmbench.runs.export.load_trained", lambda folder: uneven)
    answer = ssmbench("export", run, "--npz")
    assert answer.code == 2
    assert "sampling.dropped=0.3" in answer.err


def test_a_folder_that_is_no_run_is_refused(ssmbench, workplace):
    assert ssmbench("export", workplace, "--npz").code == 2


def test_a_file_that_differs_leaves_nothing_behind(run, ssmbench, workplace, monkeypatch):
    """A writer that loses a thousandth of a scale: the file that was there before stays."""
    assert ssmbench("export", run, "--npz", "-o", "out").code == 0
    before = (workplace / "out" / "network.npz").read_bytes()
    write = Npz.write

    def wrong(self, program, metadata, files):
        def change(operation, name, stored):
            codes = 1.001 * stored.codes if operation.kind == "affine" else stored.codes
            return type(stored)(codes.astype(np.float32))

        write(self, program.with_arrays(change), metadata, files)

    monkeypatch.setattr(Npz, "write", wrong)
    answer = ssmbench("export", run, "--npz", "-o", "out")
    assert answer.code == 2
    assert "differs from the network's stream" in answer.err
    assert [file.name for file in (workplace / "out").iterdir()] == ["network.npz"]
    assert (workplace / "out" / "network.npz").read_bytes() == before
    assert ssmbench("export", run, "--npz", "-o", "new").code == 2
    assert not (workplace / "new").exists()


def test_c_without_a_compiler_is_one_sentence(run, ssmbench, monkeypatch):
    monkeypatch.setattr("ssmbench.exporters.c.exporter.shutil.which", lambda name: None)
    answer = ssmbench("export", run, "--c")
    assert answer.code == 2
    assert "needs a C compiler" in answer.err


def test_other_files_are_no_exports(workplace):
    (workplace / "x.txt").write_text("x")
    for name, message in (("x.txt", "no exported network"), ("none.npz", "no such file")):
        with pytest.raises(sb.UsageError, match=message):
            sb.load_exported(name)
