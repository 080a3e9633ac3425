"""Every kernel compiles for the GPU without one, and spills nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbench.scans.triton

pytest.importorskip("triton", reason="the package triton is not installed")

MODULE = "ssmbench.scans.triton.compile_gate"
KERNELS_SOURCE = Path(ssmbench.scans.triton.__file__).with_name("kernels.py").read_text()


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """A process in which Triton compiles, whatever this one does."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


def kernel_sources() -> dict[str, str]:
    """Text of every kernel by name, read without Triton."""
    parts = re.split(r"@triton\.jit\ndef (\w+)", KERNELS_SOURCE)[1:]
    sources = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: text for name, text in sources.items() if name.endswith("_kernel")}


def test_every_kernel_in_every_configuration_compiles_without_spills(tmp_path):
    done = python("-m", MODULE, "--json", TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    rows = json.loads(done.stdout)
    assert [row for row in rows if row["spilled"] != 0] == []
    # 255 is the most that a thread can have; none of these kernels is near doing nothing, either.
    assert all(16 <= row["registers"] <= 255 for row in rows)

    fields = ("kernel", "blocks", "flags", "sizes", "arch")
    seen = [tuple(row[field] for field in fields) for row in rows]
    assert len(set(seen)) == len(seen)
    widths = {"real": ("64x32", "64x16"), "complex": ("64x16", "64x8")}
    assert {(kernel, blocks.split()[0], *rest) for kernel, blocks, *rest in seen} == {
        (kernel, width, flag, sizes, arch)
        for kernel, source in kernel_sources().items()
        for width in widths[kernel.split("_")[1]]
        for flag in (("WITH_DA", "") if "WITH_DA: tl.constexpr" in source else ("",))
        for sizes in ("multiple of 16", "any", "one")
        for arch in ("sm_80", "sm_90")
    }


def test_a_kernel_that_spills_is_refused(tmp_path):
    """Tiles of 256 x 16 on one warp need more registers than a thread has."""
    script = f"""
import sys
from {MODULE} import Build, main
import {MODULE} as gate
build = Build("forward_real_kernel", gate.Blocks(256, 16, 1, 1), (), "any", 90)
gate.builds = lambda: [build]
sys.exit(main([]))
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
