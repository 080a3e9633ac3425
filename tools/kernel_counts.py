"""Count what every Triton kernel is made of, on a machine without a GPU.

    .venv/bin/python tools/kernel_counts.py --kernels 'selective_*' --arch 90
    .venv/bin/python tools/kernel_counts.py -o benchmarks/counts.json
    .venv/bin/python tools/doc_tables.py

Every build of the compile gate is compiled, and its machine code read with the disassembler that
Triton ships: instructions in all, and in each loop by kind; registers, spilled and shared bytes as
ptxas reports them. A loop's figures are of one iteration of one warp, without those of the loops
inside it; ``depth`` is 1 for a loop in no other one. The first command prints a table for one
kernel, to compare before and after a change; the second writes all of them, and the third their
table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench import jsonio

#: What instructions are counted as, by how their names begin; anything else is counted as other.
KINDS: Mapping[str, tuple[str, ...]] = {
    "global read": ("LDG",),
    "global written": ("STG", "RED", "ATOM"),
    "shared": ("LDS", "STS", "ATOMS"),
    "local": ("LDL", "STL"),
    "tensor cores": ("HMMA", "HGMMA", "WARPGROUP"),
    "special functions": ("MUFU",),
    "float32": ("FFMA", "FMUL", "FADD", "FSEL", "FSETP", "FMNMX", "FCHK"),
    "shuffles": ("SHFL",),
    "barriers": ("BAR", "WARPSYNC", "DEPBAR", "LDGDEPBAR", "SYNCS"),
    "branches": ("BRA", "BSSY", "BSYNC", "CALL", "RET", "EXIT"),
}

_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"`\((\.L_\w+)\)")


@dataclass(frozen=True)
class Loop:
    """Instructions from ``first`` to ``last``, the branch back, by their place in the code."""

    first: int
    last: int

    def holds(self, other: Loop) -> bool:
        """Whether ``other`` is inside this one."""
        return self != other and self.first <= other.first and other.last <= self.last


def instructions(code: str) -> tuple[list[str], list[Loop]]:
    """Names of the instructions of a disassembly, and its loops; without the padding at its end."""
    names: list[str] = []
    labels: dict[str, int] = {}
    backwards: dict[int, int] = {}
    for line in code.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(names)
        elif found := _INSTRUCTION.search(line):
            target = _TARGET.search(line)
            start = labels.get(target[1]) if target and found[1].startswith("BRA") else None
            if found[1] == "NOP" or start == len(names):  # padding, and the guard before it
                continue
            if start is not None:
                backwards[start] = len(names)  # of several branches back the last one
            names.append(found[1])
    return names, [Loop(first, last) for first, last in sorted(backwards.items())]


def by_kind(names: Iterable[str]) -> dict[str, int]:
    """How many there are of each kind that occurs."""
    return dict(Counter(_kind(name) for name in names))


def _kind(name: str) -> str:
    # ATOMS before ATOM, and LDGDEPBAR before LDG: the longest beginning that fits
    fitting = [(len(p), kind) for kind, all_ in KINDS.items() for p in all_ if name.startswith(p)]
    return max(fitting)[1] if fitting else "other"


def loop_counts(names: list[str], loops: list[Loop]) -> list[dict[str, Any]]:
    """Each loop's depth and own instructions, those of the loops inside it not counted."""
    rows = []
    for loop in loops:
        inside = [other for other in loops if loop.holds(other)]
        own = [
            names[k]
            for k in range(loop.first, loop.last + 1)
            if not any(other.first <= k <= other.last for other in inside)
        ]
        depth = 1 + sum(other.holds(loop) for other in loops)
        rows.append({"depth": depth, "instructions": len(own), "kinds": by_kind(own)})
    return rows


def disassembled(cubin: bytes) -> str:
    """The machine code in words, by the disassembler in the package triton."""
    import triton.backends.nvidia

    program = Path(next(iter(triton.backends.nvidia.__path__)), "bin", "nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        done = subprocess.run([program, "-c", file], capture_output=True, text=True, check=True)
    return done.stdout


def count(pattern: str, architectures: Iterable[int]) -> Iterator[dict[str, Any]]:
    """A row for every build of the kernels whose name matches."""
    from ssmbench.scans.triton import compile_gate
    from ssmbench.scans.triton.variants import variants

    chosen = [v for v in variants() if fnmatch.fnmatch(v.kernel, pattern)]
    for variant, architecture in itertools.product(chosen, architectures):
        compiled = compile_gate.build(variant, architecture)
        names, loops = instructions(disassembled(compiled.asm["cubin"]))
        yield {
            **compile_gate.row(variant, architecture, compile_gate.usage(compiled, architecture)),
            "instructions": len(names),
            "kinds": by_kind(names),
            "loops": loop_counts(names, loops),
        }


COLUMNS = ("kernel", "blocks", "warps", "flags", "bfloat16", "arch", "registers", "spilled")


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each build; of each loop its instructions and the kinds of them."""
    lines = []
    for row in rows:
        head = "  ".join(f"{name}={row[name]}" for name in COLUMNS if row[name] != "")
        lines.append(f"{head}  shared={row['shared']}  instructions={row['instructions']}")
        for loop in row["loops"]:
            kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(loop["kinds"].items()))
            lines.append(f"    loop, depth {loop['depth']}: {loop['instructions']} ({kinds})")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernels", default="*", help="only kernels whose name matches a pattern")
    parser.add_argument("--arch", type=int, choices=(80, 90), help="only this architecture")
    parser.add_argument("--output", "-o", type=Path, help="write JSON here instead of a table")
    options = parser.parse_args()
    architectures = (80, 90) if options.arch is None else (options.arch,)
    rows = list(count(options.kernels, architectures))
    if not rows:
        print(f"kernel_counts: no kernel matches {options.kernels!r}", file=sys.stderr)
        return 2
    if options.output is None:
        print(table(rows))
    else:
        options.output.write_text(jsonio.dumps({"kernels": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
