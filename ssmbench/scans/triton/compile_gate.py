"""Compiles every kernel with every block configuration, without a GPU, and refuses spills.

``python -m ssmbench.scans.triton.compile_gate [--json]`` prints registers, spilled bytes and shared
memory of each, from ``ptxas -v`` on the PTX that Triton makes with the options of a launch. Exits
with 0 when nothing spills, 1 when a kernel spills or does not compile, and 2 in the interpreter,
where there is nothing to compile.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability
from triton.compiler import ASTSource

from ssmbench.scans.triton import kernels
from ssmbench.scans.triton.blocks import KERNELS, Blocks

#: Ampere (A100) and Hopper (H100, H200).
ARCHITECTURES = (80, 90)

#: What Triton knows of the sizes at a launch, for it compiles anew for each: a multiple of 16
#: allows wide loads, and a size of 1 becomes a constant.
SIZES = ("multiple of 16", "any", "one")


@dataclass(frozen=True)
class Build:
    """One compilation of one kernel."""

    kernel: str
    blocks: Blocks
    flags: tuple[tuple[str, bool], ...]
    sizes: str
    architecture: int


@dataclass(frozen=True)
class Usage:
    """What a build takes: registers a thread, spilled bytes a thread, shared bytes a program."""

    registers: int
    spilled: int
    shared: int


def builds(table: Mapping[str, tuple[Blocks, ...]] = KERNELS) -> Iterator[Build]:
    """Every kernel of ``table`` x its blocks x its flags x sizes x architectures."""
    for kernel, options in table.items():
        flags = _flags(kernel, options[0])
        values = itertools.product((True, False), repeat=len(flags))
        for value, blocks, sizes, architecture in itertools.product(
            list(values), options, SIZES, ARCHITECTURES
        ):
            yield Build(kernel, blocks, tuple(zip(flags, value, strict=True)), sizes, architecture)


def measure(build: Build) -> Usage:
    """Compile, and ask ptxas.

    Raises:
        RuntimeError: ptxas failed, or did not say what it used.
    """
    compiled = triton.compile(
        _source(build),
        target=GPUTarget("cuda", build.architecture, 32),
        options=build.blocks.options(),
    )
    log = _ptxas(compiled.asm["ptx"], build.architecture)
    stores, loads = _figures(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    (registers,) = _figures(r"Used (\d+) registers", log)
    return Usage(registers, max(stores, loads), compiled.metadata.shared)


def _flags(kernel: str, blocks: Blocks) -> list[str]:
    """The compile-time parameters that are not block sizes: booleans."""
    parameters = getattr(kernels, kernel).params
    return [p.name for p in parameters if p.is_constexpr and p.name not in blocks.constants()]


def _source(build: Build) -> ASTSource:
    function = getattr(kernels, build.kernel)
    constants: dict[str, Any] = {**build.blocks.constants(), **dict(build.flags)}
    signature, attributes = {}, {}
    for index, name in enumerate(function.arg_names):
        is_pointer = name.endswith("_ptr")
        if not is_pointer and name not in constants and build.sizes == "one":
            constants[name] = 1
        signature[name] = "constexpr" if name in constants else "*fp32" if is_pointer else "i32"
        if name not in constants and (is_pointer or build.sizes == "multiple of 16"):
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(function, signature, constants, attributes)


def _ptxas(ptx: str, architecture: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [get_ptxas(architecture).path, "-v", "-o", str(source.with_suffix(".cubin"))]
        target = f"--gpu-name={sm_arch_from_capability(architecture)}"
        done = subprocess.run([*command, target, str(source)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ptxas failed: {done.stderr.strip()}")
    return done.stdout + done.stderr


def _figures(pattern: str, log: str) -> list[int]:
    found = re.search(pattern, log)
    if found is None:  # never take silence for "no spills"
        raise RuntimeError(f"ptxas did not report {pattern!r}:\n{log}")
    return [int(figure) for figure in found.groups()]


# --- command ------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="compile_gate", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args(arguments).json
    if kernels.INTERPRETED:
        print("compile_gate: unset TRITON_INTERPRET, there is nothing to compile", file=sys.stderr)
        return 2
    rows = [_row(build, measure(build)) for build in builds()]
    print(json.dumps(rows, indent=1) if as_json else _table(rows))
    return 1 if any(row["spilled"] for row in rows) else 0


def _row(build: Build, usage: Usage) -> dict[str, Any]:
    flags = " ".join(name for name, value in build.flags if value)
    blocks = "{block_t}x{block_c} warps {num_warps} stages {num_stages}"
    return {
        "kernel": build.kernel,
        "blocks": blocks.format(**dataclasses.asdict(build.blocks)),
        "flags": flags,
        "sizes": build.sizes,
        "arch": f"sm_{build.architecture}",
        **dataclasses.asdict(usage),
    }


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [list(next(iter(rows))), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
