"""Compiles every kernel with every block configuration, without a GPU, and refuses spills.

``python -m ssmbench.scans.triton.compile_gate [--json] [--arch 80 | --alternate]
[--kernels 'scan_*']`` prints registers, spilled bytes and shared memory of each, from ``ptxas -v``
on the PTX that Triton makes with the options of a launch. With ``--alternate`` each configuration
is compiled for one architecture, the first and the second in turn, in half the time. Exits with 0
when nothing spills, 1 when a kernel spills or does not compile, and 2 where there is nothing to
compile: in the interpreter, or if no kernel has the name.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import itertools
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability
from triton.compiler import ASTSource

from ssmbench import jsonio
from ssmbench.scans.triton import (
    bank_kernel,
    delta_kernel,
    dense_kernel,
    kernels,
    sampling_kernel,
    selective_kernel,
    table_kernel,
)
from ssmbench.scans.triton.variants import Variant, variants

#: Ampere (A100) and Hopper (H100, H200).
ARCHITECTURES = (80, 90)


#: Scalars that are no whole numbers.
_FLOATS = ("sign", "alpha", "hold")

#: Modules that define the kernels of ``variants``.
MODULES = (
    *(kernels, bank_kernel, delta_kernel, dense_kernel, selective_kernel, table_kernel),
    sampling_kernel,
)


@dataclass(frozen=True)
class Usage:
    """What a build takes: registers and spilled bytes per thread, shared bytes per program."""

    registers: int
    spilled: int
    shared: int


def measure(variant: Variant, architecture: int) -> Usage:
    """Compile, and ask ptxas.

    Raises:
        RuntimeError: ptxas failed, or did not say what it used.
    """
    return usage(build(variant, architecture), architecture)


def build(variant: Variant, architecture: int) -> Any:
    """What Triton compiles for that architecture, with the options of a launch."""
    return triton.compile(
        _source(variant),
        target=GPUTarget("cuda", architecture, 32),
        options=dict(variant.options),
    )


def usage(compiled: Any, architecture: int) -> Usage:
    """What ptxas says of a build.

    Raises:
        RuntimeError: it failed, or did not say what the build uses.
    """
    log = _ptxas(compiled.asm["ptx"], architecture)
    stores, loads = _figures(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    (registers,) = _figures(r"Used (\d+) registers", log)
    return Usage(registers, max(stores, loads), compiled.metadata.shared)


def find_kernel(name: str) -> Any:
    """The kernel of that name."""
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def _source(variant: Variant) -> ASTSource:
    """The types of a launch: pointers to multiples of 16 bytes, and scalars of any value."""
    function = find_kernel(variant.kernel)
    constants = {**variant.constants, **variant.flags}
    signature, attributes = {}, {}
    for index, parameter in enumerate(function.params):
        name = parameter.name
        signature[name] = _type(name, variant)
        if name.endswith("_ptr"):
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif name not in constants and not parameter.do_not_specialize:
            raise RuntimeError(f"{variant.kernel}: a launch would specialise on {name}")
    return ASTSource(function, signature, constants, attributes)


def _type(name: str, variant: Variant) -> str:
    if name in variant.constants or name in variant.flags:
        return "constexpr"
    if name.endswith("_f64_ptr"):
        return "*fp64"
    if name.endswith("_ptr"):
        return "*bf16" if name in variant.half else "*fp32"
    return "fp32" if name in _FLOATS else "i32"


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
    if found is None:  # a missing figure is not zero
        raise RuntimeError(f"ptxas did not report {pattern!r}:\n{log}")
    return [int(figure) for figure in found.groups()]


# --- command ------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="compile_gate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--arch", type=int, choices=ARCHITECTURES, help="only this architecture")
    which.add_argument("--alternate", action="store_true", help="one architecture each, in turn")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only one build in N")
    parser.add_argument("--kernels", default="*", help="only kernels whose name matches a pattern")
    given = parser.parse_args(arguments)
    if kernels.INTERPRETED:
        print("compile_gate: unset TRITON_INTERPRET, there is nothing to compile", file=sys.stderr)
        return 2
    chosen = [v for v in variants() if fnmatch.fnmatch(v.kernel, given.kernels)]
    if not chosen:
        print(f"compile_gate: no kernel matches {given.kernels!r}", file=sys.stderr)
        return 2
    chosen = chosen[:: max(1, given.every)]
    if given.alternate:
        every = _alternating(chosen)
    else:
        every = itertools.product(chosen, ARCHITECTURES if given.arch is None else [given.arch])
    rows = [row(*case, measure(*case)) for case in every]
    print(jsonio.dumps(rows, indent=1) if given.json else _table(rows))
    return 1 if any(row["spilled"] for row in rows) else 0


def _alternating(chosen: Iterable[Variant]) -> Iterator[tuple[Variant, int]]:
    """Each with one architecture, in turn for each kernel."""
    turns = defaultdict(lambda: itertools.cycle(ARCHITECTURES))
    return ((variant, next(turns[variant.kernel])) for variant in chosen)


def row(variant: Variant, architecture: int, used: Usage) -> dict[str, Any]:
    """A build and what it takes, in words and numbers."""
    options = variant.options
    return {
        "kernel": variant.kernel,
        "blocks": "x".join(str(v) for k, v in variant.constants.items() if k != "NUM_STAGES"),
        "warps": options["num_warps"],
        "stages": options["num_stages"],
        "flags": " ".join(name for name, value in variant.flags.items() if value),
        "bfloat16": " ".join(name.removesuffix("_ptr") for name in variant.half),
        "arch": f"sm_{architecture}",
        **dataclasses.asdict(used),
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
