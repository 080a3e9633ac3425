"""The time of a gain report for large systems: seconds with one thread.

python tools/gain_cost.py
PYTHONPATH=OTHER_CHECKOUT python tools/gain_cost.py   # another version, same systems
python tools/gain_cost.py --measures band_gain passivity   # of a layer of 64 systems of 64 modes
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import ssmbench as sb
from ssmbench.analysis.gain import analyse
from ssmbench.systems import ContinuousDiagonal, DiscreteDense, LinearSystem


def dense(states: int) -> DiscreteDense:
    """A random system of spectral radius 0.99, with two inputs and outputs."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((states, states))
    A *= 0.99 / abs(np.linalg.eigvals(A)).max()
    shapes = {"B": (states, 2), "C": (2, states), "D": (2, 2)}
    matrices = {"A": A} | {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return DiscreteDense(**{name: torch.tensor(x)[None] for name, x in matrices.items()})


def bank(systems: int, pairs: int) -> ContinuousDiagonal:
    """Single-input, single-output systems with lightly damped modes."""
    torch.manual_seed(0)
    uniform = torch.rand(2, systems, pairs, dtype=torch.float64)
    wide = torch.complex128
    return ContinuousDiagonal(
        lam=torch.complex(-1e-3 * uniform[0], 10 * uniform[1]),
        B=torch.randn(systems, pairs, 1, dtype=wide),
        C=torch.randn(systems, 1, pairs, dtype=wide),
        D=torch.zeros(systems, 1, 1, dtype=torch.float64),
        dt=torch.ones(systems, dtype=torch.float64),
        conjugate=True,
    )


def measures(names: list[str]) -> None:
    """Processor time of measures of an S4D layer of 64 systems of 64 modes as it is initialised."""
    layer = sb.layer("s4d", discretizer="zoh", d_model=64, d_state=64, seed=0)
    for name in names:
        started = time.process_time()
        (found,) = sb.analyse(layer, measures=[name]).measures.values()
        print(f"{name}: {time.process_time() - started:.2f} s, {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measures", nargs="+", help="measures of a layer instead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.measures:
        measures(given.measures)
        return
    cases: dict[str, LinearSystem] = {
        "dense, N = 256": dense(256),
        "dense, N = 512": dense(512),
        "continuous bank, 512 x 64 pairs": bank(512, 64),
    }
    for name, system in cases.items():
        started = time.perf_counter()
        report = analyse(system)
        seconds = time.perf_counter() - started
        unproved = ", ".join(getattr(report, "unproved", ["not said"])) or "nothing"
        print(f"{name}: {seconds:.2f} s, unproved: {unproved}", flush=True)


if __name__ == "__main__":
    main()
