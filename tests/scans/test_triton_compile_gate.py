"""Every kernel compiles for the GPU without one, and spills nothing."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbench.scans.triton
from ssmbench import jsonio

pytest.importorskip("triton", reason="the package triton is not installed")

MODULE = "ssmbench.scans.triton.compile_gate"


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """A process in which Triton compiles, whatever this one does."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


def kernel_names() -> list[str]:
    """Every kernel in the package, found without Triton."""
    folder = Path(ssmbench.scans.triton.__file__).parent
    text = "".join(path.read_text() for path in sorted(folder.glob("*.py")))
    return re.findall(r"@triton\.jit(?:\([^)]*\))?\ndef (\w+_kernel)\(", text)


ARCHITECTURES = {"sm_80", "sm_90"}
#: Names of the kernels that one process compiles, and how many builds of them there are:
#: (6 flag sets, and 4 in bfloat16 for real numbers) x (wide, narrow, unaligned), and the scan of
#: chunk ends in narrow blocks; (states and ends only, also of bfloat16; states with da; outputs,
#: also of bfloat16 and in it) x (16, 32, 64 states);
#: of the delta rule (outputs, with states saved, backward) x (32, 128 states); of dense A (ends,
#: states) x (16, 32, 64, 128 states); of sampled systems (forward, backward) x (3 rules, 2 of them
#: also with Euler's input) x (16, 64 states); of sampling (forward, backward) x 4 rules x (one
#: input, several).
PARTS = {
    "scan_real_*": 10 * 3 + 2,
    "scan_complex_*": 6 * 3 + 2,
    "bank_*": (8 + 2) * 3,
    "delta_*": 3 * 2,
    "dense_*": 2 * 4,
    "selective_*": 2 * 6 * 2,
    "sample_*": 2 * 4 * 2,
}


def test_the_parts_are_all_kernels():
    names = kernel_names()
    assert names
    matches = [sum(fnmatch.fnmatch(name, part) for part in PARTS) for name in names]
    assert matches == [1] * len(names)


#: Of parts that take minutes, one of so many builds is compiled here: with each set of flags for
#: the bank, whose builds go through the block sizes meanwhile.
EVERY = {"scan_real_*": 2, "scan_complex_*": 2, "bank_*": 3}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_configurations_compile_for_an_architecture_without_spills(tmp_path, part):
    """On one of the architectures each, in turn; the gate's command without ``--alternate`` and
    ``--every`` compiles all for both, in four times the time."""
    every = EVERY.get(part, 1)
    arguments = ("--json", "--alternate", "--every", str(every), "--kernels", part)
    done = python("-m", MODULE, *arguments, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    rows = jsonio.loads(done.stdout)
    assert [row for row in rows if row["spilled"] != 0] == []
    # 255 is the most that a thread can have; none of these kernels is near doing nothing, either.
    assert all(16 <= row["registers"] <= 255 for row in rows)

    names = ("kernel", "blocks", "warps", "flags", "bfloat16", "arch")
    seen = [tuple(row[name] for name in names) for row in rows]
    assert len(set(seen)) == len(seen) == -(-PARTS[part] // every)
    assert {row["arch"] for row in rows} == ARCHITECTURES
    assert {kernel for kernel, *_ in seen} == set(fnmatch.filter(kernel_names(), part))


def test_no_kernel_of_that_name_is_no_success():
    done = python("-m", MODULE, "--kernels", "nothing_*")
    assert done.returncode == 2
    assert "nothing_*" in done.stderr


def test_a_kernel_that_spills_is_refused(tmp_path):
    """Tiles of 256 x 16 on one warp need more registers than a thread has."""
    script = f"""
import dataclasses, sys
import {MODULE} as gate
from ssmbench import jsonio
from ssmbench.scans.triton.blocks import Blocks
from ssmbench.scans.triton.variants import scan_variants
blocks = Blocks(256, 16, 1, 1)
variant = next(scan_variants())
worse = dataclasses.replace(variant, constants=blocks.constants(), options=blocks.options())
gate.variants = lambda: [worse]
gate.ARCHITECTURES = [90]
sys.exit(gate.main([]))
"""
    done = python("-c", script, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 1, done.stderr
    header, row = done.stdout.splitlines()
    at = header.index("spilled")
    assert int(row[at:].split()[0]) > 0


def test_the_interpreter_has_nothing_to_compile():
    done = python("-m", MODULE, TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert "TRITON_INTERPRET" in done.stderr
