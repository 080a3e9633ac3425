"""What is given to exported networks, and files that are not theirs: one sentence each."""

from __future__ import annotations

import numpy as np
import pytest

import ssmbench as sb
from ssmbench.errors import UsageError
from ssmbench.program import Builder
from ssmbench.program.reference import Network
from ssmbench.registry import exporters
from ssmbench.runs import export_check
from ssmbench.runs.export_check import agreement, check_network
from tests.exporters.variants import exported

#: Programs of torch.export take seconds, and check the same way.
FORMATS = ("npz", "c", "onnx")
ABOUT = {"output": {"per": "step"}}


def written(format, program, folder, name="network"):
    exporter = exporters.get(format).build()
    files = [folder / f"{name}{ending}" for ending in exporter.endings]
    exporter.write(program, ABOUT, files)
    return files


def numbers():
    to = Builder(3)
    return to.program(to.convolution(0, np.ones((3, 2))), True)


def words():
    to = Builder(1, vocabulary=2)
    return to.program(to.lookup(0, np.eye(2)), True)


@pytest.mark.parametrize("format", FORMATS)
def test_other_shapes_and_tokens_are_refused(format, tmp_path):
    file = written(format, numbers(), tmp_path)[0]
    network = sb.load_exported(file)
    u, state = np.zeros((2, 4, 3), np.float32), np.zeros((2, 3), np.float32)
    network.sequence(u, state)
    wrong = [
        (network.step, u[:, 0, :2], state, "u has the shape"),
        (network.step, np.zeros((2, 4)), state, "u has the shape"),
        (network.step, u[:, 0], state[:, :1], "the state has the shape"),
        (network.step, u[:, 0], np.zeros((2, 5)), "the state has the shape"),
        (network.step, u[:, 0], state[:1], "the state has the shape"),
        (network.sequence, u[:, 0], state, "u has the shape"),
        (network.sequence, u[:, :0], state, "at least one sequence and one step"),
    ]
    for function, *given, message in wrong:
        with pytest.raises(ValueError, match=message) as raised:
            function(*given)
        assert "\n" not in str(raised.value)
    network = sb.load_exported(written(format, words(), tmp_path, "words")[0])
    for token in (-1, 2):
        with pytest.raises(ValueError, match=f"the token {token} is outside the vocabulary"):
            network.sequence(np.array([[0, token, 1]]))


@pytest.mark.parametrize("format", FORMATS)
def test_files_may_be_renamed_together(format, tmp_path):
    files = written(format, numbers(), tmp_path)
    moved = [file.rename(file.with_name(file.name.replace("network", "a b"))) for file in files]
    y, _ = sb.load_exported(moved[0]).sequence(np.ones((1, 2, 3), np.float32))
    assert y.tolist() == [[[1, 1, 1], [2, 2, 2]]]


def test_one_of_two_files_is_not_enough(tmp_path):
    step, sequence = written("onnx", numbers(), tmp_path)
    sequence.unlink()
    with pytest.raises(UsageError, match=r"network\.sequence\.onnx: no such file"):
        sb.load_exported(step)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "a-cross-compiler"])
def test_a_compiler_that_cannot_be_used_is_one_sentence(compiler, tmp_path, monkeypatch):
    """A cross compiler stands for one whose library cannot be loaded here."""
    file = written("c", numbers(), tmp_path)[0]
    cross = tmp_path / "a-cross-compiler"
    cross.write_text('#!/bin/sh\nfor word; do case "$word" in *.so) echo > "$word";; esac; done\n')
    cross.chmod(0o755)
    absent = compiler == "no-such-compiler"
    monkeypatch.setenv("CC", compiler if absent else str(cross))
    wanted = "which does not exist" if absent else "does not run on this computer"
    with pytest.raises(UsageError, match=wanted):
        sb.load_exported(file)


@pytest.mark.parametrize("format", FORMATS)
def test_kernels_of_one_step_and_programs_of_no_operation(format, tmp_path):
    to = Builder(2)
    short = to.program(to.convolution(0, np.array([[2.0], [3.0]]), np.ones(2)), True)
    nothing = Builder(2).program(0, True)
    for name, program, wanted in (("a", short, [3, 4]), ("b", nothing, [1, 1])):
        network = sb.load_exported(written(format, program, tmp_path, name)[0])
        y, state = network.step(np.ones((1, 2), np.float32), network.initial())
        assert y.tolist() == [wanted]
        assert state.shape == (1, 0)


def test_an_exported_network_with_another_state_after_a_sequence_is_refused():
    """Its predictions within the sequence are right."""
    frozen, program = exported("contraction")
    truth = check_network(frozen, program)
    network = Network(program.description(), program.arrays(), np.float64)
    assert agreement(network, program, truth).difference < 1e-12
    run = network.sequence

    def sequence(u, state=None):
        y, after = run(u, state)
        return y, after if u.shape[1] == 1 else 0.9 * after

    network.sequence = sequence
    with pytest.raises(UsageError, match="the exported network differs"):
        agreement(network, program, truth)


def test_a_network_that_float32_changes_much_is_not_allowed_everything(monkeypatch):
    frozen, program = exported("contraction")
    monkeypatch.setattr(export_check, "_OWN", 1e9)
    truth = check_network(frozen, program)
    assert truth.allowed == pytest.approx(0.01 * truth.scale)
