"""Errors of every scan relative to complex128 and to a plain float32 loop, up to L = 2^20.

    python tools/scan_accuracy.py -o benchmarks/accuracy-cpu.json   # about two minutes
    python tools/scan_accuracy.py --lengths 4096 65536

Every cell has the largest error divided by the largest value and, in brackets, its ratio to the
same error of the float32 loop. The largest pole modulus is 1 - 1e-5.
See ssmbench/bench/accuracy.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ssmbench import jsonio
from ssmbench.bench.accuracy import ALLOWED, Accuracy, measure
from ssmbench.bench.timing import device_name

LENGTHS = (2**12, 2**16, 2**20)
GAP = 1e-5


def row(result: Accuracy) -> str:
    """A line of a Markdown table."""
    cells = [
        f"{name} {error:.1e} ({result.ratios[name]:.2f})" for name, error in result.errors.items()
    ]
    loop = ", ".join(f"{name} {error:.1e}" for name, error in result.loop_errors.items())
    front = f"| {result.operation} | {result.backend} | {result.length} | {result.worst:.2f} "
    return f"{front}| {', '.join(cells)} | {loop} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("-o", "--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    print("| operation | backend | L | worst ratio | error (ratio) | float32 loop |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    results = []
    for length in arguments.lengths:
        for result in measure(length, GAP):
            results.append(result)
            print(row(result), flush=True)
    if arguments.output:
        figures = [{**asdict(r), "ratios": r.ratios, "worst": r.worst} for r in results]
        record = {"device": device_name(torch.device("cpu")), "gap": GAP, "results": figures}
        arguments.output.write_text(jsonio.dumps(record, indent=1) + "\n")
    sys.exit(any(r.worst > ALLOWED for r in results))


if __name__ == "__main__":
    main()
