"""The C file: 100,000 steps agree with the network, no input exceeds the bound of what was
exported, and the file can be used as the documentation says."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
import torch

from ssmbench.analysis.certificate import GainClaim
from ssmbench.analysis.gain import analyse
from ssmbench.analysis.program_bound import program_bound, systems_of
from ssmbench.errors import UsageError
from ssmbench.exporters.c.arrays import number
from ssmbench.exporters.c.exporter import FLAGS, identifier
from ssmbench.program import Builder, stored_as
from ssmbench.registry import exporters
from tests.exporters.variants import exported, inputs

ABOUT = {"output": {"per": "step"}}


def compiled(program, folder, name="network", about=ABOUT):
    exporter, file = exporters.get("c").build(), folder / f"{name}.c"
    exporter.write(program, about, [file])
    return exporter.read([file])


@pytest.mark.parametrize("name", ["certified", "glu and norms"])
def test_a_hundred_thousand_steps_agree_with_the_network(name, tmp_path):
    frozen, program = exported(name)
    u = inputs(frozen, program, 100_000)
    with torch.no_grad():
        wanted, _ = frozen.stream(u)
    found, _ = compiled(program, tmp_path).sequence(u.numpy())
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_attack_on_the_compiled_network_stays_below_its_bound(weights, tmp_path):
    """A random search uphill, on the compiled function itself, which has no gradients."""
    _, program = exported("contraction")
    program = stored_as(program, weights)
    gains = [analyse(system).hinf_upper_bound for system in systems_of(program)]
    bound = program_bound(program, gains, GainClaim.incremental).value
    network, random = compiled(program, tmp_path), np.random.default_rng(0)
    base = random.standard_normal((1, 24, program.width)).astype(np.float32)
    y, _ = network.sequence(base)
    best, change = 0.0, random.standard_normal(base.shape).astype(np.float32)
    for _ in range(80):
        tried = change + 0.3 * random.standard_normal((64, *base.shape[1:])).astype(np.float32)
        moved = np.linalg.norm((network.sequence(base + tried)[0] - y).reshape(64, -1), axis=1)
        ratios = moved / np.linalg.norm(tried.reshape(64, -1), axis=1)
        if ratios.max() > best:
            best, change = float(ratios.max()), tried[ratios.argmax()][None]
    assert 0.1 * bound < best <= bound


def test_the_declarations_are_enough_for_another_file(tmp_path):
    """As docs/exporting.md shows it: a program of two files."""
    _, program = exported("contraction")
    network = compiled(program, tmp_path)
    (tmp_path / "main.c").write_text(
        "#define NETWORK_DECLARATIONS\n"
        '#include "network.c"\n'
        "#include <stdio.h>\n"
        "int main(void) {\n"
        "  network_state state;\n"
        "  const float u[NETWORK_INPUTS] = {1.0f, 2.0f, 3.0f};\n"
        "  float y[NETWORK_OUTPUTS];\n"
        "  network_init(&state);\n"
        "  network_step(&state, u, y);\n"
        "  network_step(&state, u, y);\n"
        '  printf("%.9g %.9g\\n", y[0], y[1]);\n'
        "  return 0;\n"
        "}\n"
    )
    files = [str(tmp_path / name) for name in ("main.c", "network.c")]
    command = ["cc", *FLAGS, *files, "-o", str(tmp_path / "program"), "-lm"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    u = np.array([[[1, 2, 3], [1, 2, 3]]], np.float32)
    wanted = network.sequence(u)[0][0, -1]
    assert np.array(done.stdout.split(), np.float32) == pytest.approx(wanted, rel=1e-6)


def test_declarations_are_those_of_c_in_cpp_and_indices_are_checked(tmp_path):
    """A compiler whose int is too small is stood for by a larger network in the same words."""
    _, program = exported("contraction")
    compiled(program, tmp_path)
    file, command = tmp_path / "network.c", ["cc", "-std=c99", "-c", "-o", "network.o"]
    text = file.read_text()
    assert text.index('extern "C" {') < text.index("void network_init")
    (tmp_path / "large.c").write_text(text.replace("#if INT_MAX < ", "#if INT_MAX < 99999999999"))
    for name, code in (("network.c", 0), ("large.c", 1)):
        done = subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code
    assert "the indices of this network exceed int" in done.stderr


def test_a_token_outside_the_vocabulary_is_refused(tmp_path):
    to = Builder(1, vocabulary=2)
    program = to.program(to.lookup(0, np.eye(2)), True)
    network = compiled(program, tmp_path, name="2 words", about=ABOUT)
    assert identifier("2 words") == "network_2_words"
    y, _ = network.sequence(np.array([[0, 1]]))
    assert y.tolist() == [[[1, 0], [0, 1]]]
    for token in (-1, 2):
        with pytest.raises(UsageError, match="outside the vocabulary"):
            network.sequence(np.array([[0, token]]))


def test_numbers_are_read_back_as_they_were():
    values = np.array([0, -0.0, 1, 1e-45, 3.4e38, np.pi, 1 / 3], np.float32)
    strtof = ctypes.CDLL(None).strtof
    strtof.restype = ctypes.c_float
    found = [strtof(number(value).removesuffix("f").encode(), None) for value in values]
    assert np.array_equal(np.array(found, np.float32), values)


def test_an_operation_without_a_form_is_refused(tmp_path):
    to = Builder(2)
    program = to.program(to.add_operation("spin", (0,), 2), True)
    with pytest.raises(UsageError, match="operation spin has no form in C; allowed: affine, "):
        compiled(program, tmp_path)
    assert list(tmp_path.iterdir()) == []
