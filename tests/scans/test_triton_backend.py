"""What the Triton backend says of itself where its kernels cannot run, and how it picks blocks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.registry import scans
from ssmbench.scans.triton.blocks import (
    BANK,
    ENOUGH_PROGRAMS,
    SCAN,
    SHORTEST_CHUNK,
    bank_segment,
    choose,
    in_chunks,
    programs,
)
from ssmbench.systems import DiscreteDiagonal

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def diagonal(dtype=torch.complex64) -> DiscreteDiagonal:
    ones = torch.ones(1, 2, 1, dtype=dtype)
    return DiscreteDiagonal(lam=ones[..., 0], B=ones, C=ones.mT, D=torch.ones(1, 1, 1))


def python(script: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_unable_names_the_reason():
    backend = scans.get("triton").build()
    reason = backend.unsupported_reason
    wide = diagonal(torch.float32).to_dense()
    wide = wide.map(lambda t: t.new_zeros(tuple(129 if n == wide.states else n for n in t.shape)))
    assert "dense systems of at most 128 states, and this has 129" in reason(wide, CUDA)
    assert "dense systems of real numbers" in reason(diagonal().to_dense(), CUDA)
    assert "this system's are complex128" in reason(diagonal().double(), CUDA)
    assert "this system's are bfloat16" in reason(diagonal(torch.bfloat16), CUDA)
    assert "this is 'mps'" in reason(diagonal(), torch.device("mps"))


def test_able_on_cuda_without_looking_for_a_device():
    pytest.importorskip("triton", reason="the package triton is not installed")
    backend = scans.get("triton").build()
    for dtype in (torch.float32, torch.complex64):
        assert backend.unsupported_reason(diagonal(dtype), CUDA) is None


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter runs on the CPU")
def test_refuses_the_cpu():
    pytest.importorskip("triton", reason="the package triton is not installed")
    backend = scans.get("triton").build()
    reason = backend.unsupported_reason(diagonal(), CPU)
    assert reason == "it needs a CUDA device, and this is 'cpu'"
    with pytest.raises(UsageError, match="scan 'triton' cannot run this: it needs a CUDA device"):
        backend(diagonal(), torch.ones(1, 4, 1, 1))


def test_listing_the_backends_loads_no_kernel():
    script = """
import sys
from ssmbench.registry import scans
from ssmbench.scans.triton import TritonScan
assert scans.get("triton").factory is TritonScan
print("ssmbench.scans.triton.kernels" in sys.modules)
"""
    assert python(script) == "False"


def test_importing_and_asking_need_no_triton():
    script = """
import sys, torch
sys.modules["triton"] = None  # what "import triton" meets where it is not installed
from ssmbench.registry import scans
from ssmbench.systems import DiscreteDiagonal
one = torch.ones(1, 1, 1)
system = DiscreteDiagonal(lam=one[0], B=one, C=one, D=one)
print(scans.get("triton").build().unsupported_reason(system, torch.device("cuda")))
"""
    assert python(script) == "the package triton is not installed"


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["real", "complex"])
def test_wide_blocks_need_channels_to_fill_them_and_programs_to_fill_the_gpu(case):
    wide, narrow = SCAN[case]
    is_complex = case == "complex"
    assert wide.block_c > narrow.block_c
    channels = wide.block_c
    assert choose(is_complex, ENOUGH_PROGRAMS, 100, channels).blocks == wide
    assert choose(is_complex, ENOUGH_PROGRAMS - 1, 100, channels).blocks == narrow
    assert choose(is_complex, ENOUGH_PROGRAMS, 100, channels // 2).blocks == narrow
    assert choose(is_complex, ENOUGH_PROGRAMS, 100, channels + 1).blocks == narrow  # unaligned
    assert choose(is_complex, 1, 100, ENOUGH_PROGRAMS * channels).blocks == wide


def test_few_programs_split_a_long_signal():
    plan = choose(True, 1, 2**20, 64)
    count = plan.chunks * programs(plan.blocks, 1, 64)
    assert ENOUGH_PROGRAMS <= count < 1.1 * ENOUGH_PROGRAMS
    assert choose(True, ENOUGH_PROGRAMS, 2**20, 64).chunks == 1
    assert choose(True, 1, 2 * SHORTEST_CHUNK - 1, 64).chunks == 1
    assert choose(True, 1, 2 * SHORTEST_CHUNK, 64).chunks == 2


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
def test_chunks_are_whole_tiles_and_cover_the_signal(length):
    plan = in_chunks(SCAN["real"][1], length, 100)
    assert plan.chunk == 128
    assert (plan.chunks - 1) * plan.chunk < length <= plan.chunks * plan.chunk


def test_programs_cover_every_channel_once():
    blocks = SCAN["real"][0]
    assert programs(blocks, 3, blocks.block_c) == 3
    assert programs(blocks, 3, blocks.block_c + 1) == 6


@pytest.mark.parametrize("signals", [1, 40, ENOUGH_PROGRAMS])
@pytest.mark.parametrize("chunks", [1, 15, 16, 17, 256, 4096])
def test_segments_of_a_bank_are_whole_tiles(signals, chunks):
    """So that no tile is taken for one row: 256 chunks are 16 tiles of 16, not 17."""
    blocks = BANK[0]
    segment = bank_segment(blocks, signals, chunks)
    assert segment == chunks or (segment < chunks and segment % blocks.rows == 0)
    if signals == ENOUGH_PROGRAMS:
        assert segment == chunks


def test_the_table_suits_the_kernels():
    """Triton takes powers of two only; a^block_t must be a float32 up to |a| = 3.99."""
    for blocks in {blocks for options in SCAN.values() for blocks in options}:
        for size in (blocks.block_t, blocks.block_c, blocks.num_warps):
            assert size & (size - 1) == 0
        assert 3.99**blocks.block_t < torch.finfo(torch.float32).max


def test_fusion_of_multiply_and_add_is_asked_for_explicitly():
    assert all(b.options()["enable_fp_fusion"] is True for b in SCAN["real"])
