"""Block sizes of the kernels: an explicit table, chosen from by shape.

No autotuning: it needs a driver (so it fails in the interpreter and on machines without a GPU),
costs seconds at the first call of every shape, and makes a run's rounding depend on timing noise.
The sizes are reasoned from registers and cache lines, as said at each table; none was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        return launch_options(self.num_warps, self.num_stages, 168)


def launch_options(num_warps: int, num_stages: int, registers: int) -> dict[str, int | bool]:
    """The compiler's options of every kernel.

    The most registers a thread may take is given, because ptxas otherwise aims at more programs
    a multiprocessor and spills a few bytes for it. With 168, three programs of four warps fit.
    """
    return {
        "num_warps": num_warps,
        "num_stages": num_stages,
        "maxnreg": registers,
        "enable_fp_fusion": True,  # explicit because Triton 3.10 changes the default
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


def narrow_plan(is_complex: bool, length: int) -> Plan:
    """One chunk in the narrowest blocks: for the short scan of chunk ends."""
    return Plan(SCAN["complex" if is_complex else "real"][-1], length, 1)


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


# --- the fused bank -----------------------------------------------------------------------------


@dataclass(frozen=True)
class BankBlocks:
    """One way to compile the fused kernels: chunks of block_t steps, block_n states, ``heads`` at
    once.

    ``states`` and ``outputs`` say for each kernel: chunks in a tile (rows), how much of an inner
    dimension is multiplied at once (slice), warps and stages.
    """

    block_t: int
    block_n: int
    states: tuple[int, int, int, int]
    outputs: tuple[int, int, int, int]
    heads: int = 4

    @property
    def rows(self) -> int:
        """Chunks in a tile of states."""
        return self.states[0]

    @property
    def output_rows(self) -> int:
        """Chunks in a tile of outputs."""
        return self.outputs[0]

    def constants(self, part: tuple[int, int, int, int]) -> dict[str, int]:
        """The compile-time parameters of the kernel that ``part`` speaks of."""
        rows, width, _, stages = part
        sizes = {"HEADS": self.heads, "BLOCK_T": self.block_t, "BLOCK_N": self.block_n}
        return {**sizes, "ROWS": rows, "SLICE": width, "NUM_STAGES": stages}

    def options(self, part: tuple[int, int, int, int]) -> dict[str, int | bool]:
        """The compiler's options of the kernel that ``part`` speaks of."""
        return launch_options(*part[2:], 255)


#: Chunks of 64 steps: with 64 states the products within and between chunks cost about alike, and
#: |lam|^64 has to be a float32. Four heads, because their samples lie in 16 bytes, what a thread
#: loads at once. Slices of 8 or 16 because 3xTF32 keeps two halves of every operand in registers;
#: 16 rows for the states, because the scan keeps four numbers a state.
BANK: tuple[BankBlocks, ...] = (
    BankBlocks(64, 16, (16, 16, 8, 2), (64, 8, 8, 3)),
    BankBlocks(64, 32, (16, 16, 8, 2), (64, 8, 8, 3)),
    BankBlocks(64, 64, (16, 8, 8, 3), (64, 8, 8, 3)),  # slices of 16 spill 16 bytes in the adjoint
)


def bank_blocks(states: int) -> BankBlocks:
    """The narrowest that holds the states; the widest where none does (they go in groups)."""
    return next((blocks for blocks in BANK if blocks.block_n >= states), BANK[-1])


def bank_segment(blocks: BankBlocks, signals: int, chunks: int) -> int:
    """Chunks of a segment: all of them where signals (quads of heads x sequences) give enough
    programs, otherwise whole tiles.
    """
    segments = _ceil(ENOUGH_PROGRAMS, signals)
    return min(chunks, blocks.rows * _ceil(_ceil(chunks, segments), blocks.rows))


# --- the delta rule -------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeltaBlocks:
    """One way to compile the kernels of the delta rule: a tile of block_n states by block_p
    channels; states are saved every ``stride`` steps."""

    block_n: int
    block_p: int
    num_warps: int
    stride: int = 32

    def constants(self) -> dict[str, int]:
        """The kernels' compile-time parameters."""
        return {"BLOCK_N": self.block_n, "BLOCK_P": self.block_p, "STRIDE": self.stride}

    def options(self) -> dict[str, int | bool]:
        """The compiler's options."""
        return launch_options(self.num_warps, 1, 255)


#: A tile is 16 registers a thread, and the backward pass keeps about six.
DELTA: tuple[DeltaBlocks, ...] = (DeltaBlocks(32, 16, 1), DeltaBlocks(128, 32, 8))


def delta_blocks(states: int) -> DeltaBlocks:
    """The narrowest that holds the states; the widest where none does."""
    return next((blocks for blocks in DELTA if blocks.block_n >= states), DELTA[-1])


# --- dense A --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DenseBlocks:
    """One way to compile the kernel of dense A: ``rows`` chunks of ``chunk`` steps by block_n
    states."""

    block_n: int
    rows: int
    num_warps: int
    chunk: int = 32

    def constants(self) -> dict[str, int]:
        """The kernel's compile-time parameters."""
        return {"BLOCK_N": self.block_n, "ROWS": self.rows}

    def options(self) -> dict[str, int | bool]:
        """The compiler's options."""
        return launch_options(self.num_warps, 1, 255)


#: The fewest rows that a product takes, for the most programs.
DENSE: tuple[DenseBlocks, ...] = (
    DenseBlocks(16, 16, 1),
    DenseBlocks(32, 16, 2),
    DenseBlocks(64, 16, 4),
    DenseBlocks(128, 16, 8),
)


def dense_blocks(states: int) -> DenseBlocks:
    """The narrowest that holds the states; the widest where none does."""
    return next((blocks for blocks in DENSE if blocks.block_n >= states), DENSE[-1])


# --- sampled time-varying systems -----------------------------------------------------------------


@dataclass(frozen=True)
class SelectiveBlocks:
    """One way to compile the kernels of sampled systems: a tile of block_p channels by block_n
    states; states are saved every ``stride`` steps."""

    block_n: int
    block_p: int
    num_warps: int
    num_stages: int = 3
    stride: int = 16

    def constants(self) -> dict[str, int]:
        """The kernels' compile-time parameters."""
        sizes = {"BLOCK_N": self.block_n, "BLOCK_P": self.block_p}
        return {**sizes, "STRIDE": self.stride, "NUM_STAGES": self.num_stages}

    def options(self) -> dict[str, int | bool]:
        """The compiler's options."""
        return launch_options(self.num_warps, self.num_stages, 255)


#: A tile is 4 registers a thread, and the backward pass keeps some 20 (8 registers spill). One warp
#: for the usual 16 states, so that sums over channels stay within it; few channels, because
#: programs are what fills a GPU (512 at 8 sequences of 512 channels), and 8 are a sector of memory.
#: With 16 steps between saved states, these are as many bytes as u at 16 states, and what is
#: computed again is 8 kB a program.
SELECTIVE: tuple[SelectiveBlocks, ...] = (SelectiveBlocks(16, 8, 1), SelectiveBlocks(64, 8, 4))


def selective_blocks(states: int) -> SelectiveBlocks:
    """The narrowest that holds the states; the widest where none does."""
    return next((blocks for blocks in SELECTIVE if blocks.block_n >= states), SELECTIVE[-1])
