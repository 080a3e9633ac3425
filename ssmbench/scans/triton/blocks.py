"""Block sizes of the kernels: an explicit table, chosen from by shape.

No autotuning: it needs a driver (so it fails in the interpreter and on machines without a GPU),
costs seconds at the first call of every shape, and makes a run's rounding depend on timing noise.
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
        return {
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
            "enable_fp_fusion": True,  # said aloud because Triton 3.10 changes the default
        }


#: Tile-carry kernels, widest first. A row of a tile is 128 bytes (a cache line) or, when that
#: leaves too few programs, 64; 64 rows because 128 spill in the complex backward, and because
#: a^BLOCK_T has to be a float32 (see TritonScan on |a| > 1).
TILE_CARRY: Mapping[str, tuple[Blocks, ...]] = MappingProxyType(
    {
        "real": (Blocks(64, 32, 4, 3), Blocks(64, 16, 4, 3)),
        "complex": (Blocks(64, 16, 4, 3), Blocks(64, 8, 4, 3)),
    }
)

#: The blocks that every kernel may be launched with: what the compile gate compiles.
KERNELS: Mapping[str, tuple[Blocks, ...]] = MappingProxyType(
    {
        "forward_real_kernel": TILE_CARRY["real"],
        "forward_complex_kernel": TILE_CARRY["complex"],
        "backward_real_kernel": TILE_CARRY["real"],
        "backward_complex_kernel": TILE_CARRY["complex"],
    }
)

#: Two programs for each of the 132 multiprocessors of an H100.
ENOUGH_PROGRAMS = 264


def choose(is_complex: bool, batch: int, channels: int) -> Blocks:
    """The widest tile-carry blocks that channels half fill and that give enough programs.

    The narrowest where there are none.
    """
    options = TILE_CARRY["complex" if is_complex else "real"]
    for blocks in options:
        filled = 2 * channels > blocks.block_c
        if filled and programs(blocks, batch, channels) >= ENOUGH_PROGRAMS:
            return blocks
    return options[-1]


def programs(blocks: Blocks, batch: int, channels: int) -> int:
    """Programs of a tile-carry launch: one a batch entry and tile of channels."""
    return batch * -(-channels // blocks.block_c)
