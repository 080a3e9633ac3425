"""Block sizes of the kernels: an explicit table, chosen from by shape.

No autotuning: it needs a driver (so it fails in the interpreter and on machines without a GPU),
costs seconds at the first call of every shape, and makes a run's rounding depend on timing noise.
The sizes are reasoned from registers and cache lines, as said at each table; none was measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Blocks:
    """One way to compile a kernel: tiles of block_t time steps by block_c channels."""

    block_t: int
    block_c: int
    num_warps: int
    num_stages: int

    def constants(self) -> dict[str, int]:
        """The kernel's compile-time parameters."""
        return {
            "BLOCK_T": self.block_t,
            "BLOCK_C": self.block_c,
            "NUM_STAGES": self.num_stages,
        }

    def options(self) -> dict[str, int | bool]:
        """The compiler's options, the same when launching as in the compile gate."""
        return launch_options(self.num_warps, self.num_stages)


def launch_options(num_warps: int, num_stages: int) -> dict[str, int | bool]:
    """The compiler's options of every kernel."""
    return {
        "num_warps": num_warps,
        "num_stages": num_stages,
        "enable_fp_fusion": True,  # said aloud because Triton 3.10 changes the default
    }


@dataclass(frozen=True)
class Plan:
    """How a scan is launched: blocks, and chunks of time (one: the tile-carry scan)."""

    blocks: Blocks
    chunk: int
    chunks: int


#: The states-written scan, widest first. A row of a tile is 128 bytes (a cache line), or 64 where
#: that leaves too few programs or rows do not start at multiples of 16 channels anyway. At most 64
#: rows, because 128 spill in the complex adjoint, and because a^BLOCK_T has to be a float32 (see
#: TritonScan on |a| > 1); 32 x 32 real, because 64 x 32 spill a little in bfloat16.
SCAN: Mapping[str, tuple[Blocks, ...]] = MappingProxyType(
    {
        "real": (Blocks(32, 32, 4, 3), Blocks(64, 16, 4, 3)),
        "complex": (Blocks(64, 16, 4, 3), Blocks(64, 8, 4, 3)),
    }
)

#: Two programs for each of the 132 multiprocessors of an H100.
ENOUGH_PROGRAMS = 264

#: Shorter chunks would spend more on their ends than the second pass over the input costs anyway.
SHORTEST_CHUNK = 256


def choose(is_complex: bool, batch: int, length: int, channels: int) -> Plan:
    """The widest blocks that channels fill and that give enough programs, in one chunk.

    Where there are none, the widest that channels fill, and as many chunks of time as give enough
    programs, of SHORTEST_CHUNK steps or more.
    """
    wide, narrow = SCAN["complex" if is_complex else "real"]
    options = (wide, narrow) if is_aligned(channels) and channels >= wide.block_c else (narrow,)
    for blocks in options:
        if programs(blocks, batch, channels) >= ENOUGH_PROGRAMS:
            return Plan(blocks, length, 1)
    wanted = _ceil(ENOUGH_PROGRAMS, max(1, programs(options[0], batch, channels)))
    chunks = min(wanted, length // SHORTEST_CHUNK)
    if chunks <= 1:
        return Plan(narrow, length, 1)
    return in_chunks(options[0], length, _ceil(length, chunks))


def is_aligned(channels: int) -> bool:
    """Whether rows start where wide loads may."""
    return channels % 16 == 0


def in_chunks(blocks: Blocks, length: int, chunk: int) -> Plan:
    """Chunks of at least ``chunk`` steps, whole tiles all but the last."""
    chunk = blocks.block_t * _ceil(chunk, blocks.block_t)
    return Plan(blocks, chunk, max(1, _ceil(length, chunk)))


def programs(blocks: Blocks, batch: int, channels: int) -> int:
    """Programs of one chunk: one a batch entry and tile of channels."""
    return batch * _ceil(channels, blocks.block_c)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


# --- what is compiled -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One compilation of a kernel: its flags, blocks, and the pointers that are not float32."""

    kernel: str
    flags: Mapping[str, bool]
    constants: Mapping[str, int]
    options: Mapping[str, int | bool]
    half: tuple[str, ...] = ()


def scan_variants() -> Iterator[Variant]:
    """Every way in which ``linear_scan`` launches the states-written kernels."""
    for case, (wide, narrow) in SCAN.items():
        for blocks, aligned in ((wide, True), (narrow, True), (narrow, False)):
            for flags, half in _scan_flags(case):
                flags = {"ALIGNED": aligned, **flags}
                constants, options = blocks.constants(), blocks.options()
                yield Variant(f"scan_{case}_kernel", flags, constants, options, half)


def _scan_flags(case: str) -> Iterator[tuple[dict[str, bool], tuple[str, ...]]]:
    """Flags, and which pointers are bfloat16: in the forward direction the inputs may be."""
    for varying, (states, with_da, guard) in itertools.product((False, True), _PHASES):
        flags = {"VARYING": varying, "STATES": states, "WITH_DA": with_da, "GUARD": guard}
        yield flags, ()
        if case == "real" and not (with_da or guard):
            yield flags, ("a_ptr", "b_ptr") if varying else ("b_ptr",)


#: STATES, WITH_DA, GUARD: the states, those of the adjoint with da, chunk ends, scan of chunk ends.
_PHASES = ((True, False, False), (True, True, False), (False, False, False), (True, False, True))
