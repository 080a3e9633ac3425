"""Every kernel compiles for the GPU without one, and spills nothing."""

from __future__ import annotations

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


def test_every_kernel_in_every_configuration_compiles_without_spills(tmp_path):
    done = python("-m", MODULE, "--json", TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    rows = jsonio.loads(done.stdout)
    assert [row for row in rows if row["spilled"] != 0] == []
    # 255 is the most that a thread can have; none of these kernels is near doing nothing, either.
    assert all(16 <= row["registers"] <= 255 for row in rows)

    names = ("kernel", "blocks", "warps", "flags", "bfloat16", "arch")
    seen = [tuple(row[name] for name in names) for row in rows]
    assert len(set(seen)) == len(seen)
    assert {kernel for kernel, *_ in seen} == set(kernel_names())
    assert {arch for *_, arch in seen} == {"sm_80", "sm_90"}
    scans = [row for row in rows if row["kernel"].startswith("scan_")]
    # (real: 6 flag sets and 4 in bfloat16, complex: 6) x (wide, narrow, unaligned), and the scan
    # of chunk ends in narrow blocks (2 of each), x architectures
    assert len(scans) == ((10 + 6) * 3 + 4) * 2
    # (states, with da, ends only, outputs) x (16, 32, 64 states) x architectures
    assert len(rows) - len(scans) == 4 * 3 * 2


def test_a_kernel_that_spills_is_refused(tmp_path):
    """Tiles of 256 x 16 on one warp need more registers than a thread has."""
    script = f"""
import dataclasses, sys
import {MODULE} as gate
from ssmbench import jsonio
from ssmbench.scans.triton.blocks import Blocks, scan_variants
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
