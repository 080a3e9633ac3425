"""Random draws of every parametrization that declares a gain: does any break its promise?

    python tools/gain_sweep.py                       # 10,000 draws each, some minutes
    python tools/gain_sweep.py --draws 500 --names l2ru --json

Parameters are drawn in float32 from normal distributions whose scale, like gamma, is log-uniform.
The verified gain is the exact H-infinity norm of the float32 matrices, in double precision.
A continuous-time parametrization is measured as it is and need not keep its gain when sampled.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import fields
from statistics import median, quantiles

import torch

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.parametrizations.base import Parametrization
from ssmbench.testing import randomise

SIZES = (4, 16, 32, 64)
LOG_GAMMA = (-2.0, 2.0)
LOG_SCALE = (-1.0, 1.0)
ALLOWED = 1e-4


def declaring() -> list[str]:
    """Names of the parametrizations with a declared gain and an option ``gamma``."""
    found = []
    for entry in registry.parametrizations:
        declares = entry.factory.declared_gain is not Parametrization.declared_gain
        if declares and any(option.name == "gamma" for option in fields(entry.config)):
            found.append(entry.name)
    return found


def sweep(name: str, draws: int, seed: int) -> dict:
    """Ratios verified / gamma over random draws, with exceptions and violations counted."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    ratios, exceptions, violations, worst = [], [], 0, 0.0
    started = time.perf_counter()
    for draw in range(draws):
        n, gamma, scale = _draw(generator, draw)
        try:
            ratio = _ratio(name, n, gamma, scale)
        except Exception as error:
            exceptions.append(f"n={n} gamma={gamma:g} scale={scale:g}: {error!r}")
            continue
        ratios.append(ratio)
        worst = max(worst, ratio)
        violations += ratio > 1 + ALLOWED
        if sys.stderr.isatty() and draw % 100 == 0:
            print(f"\r{name} {draw}/{draws}", end="", file=sys.stderr)
    return {
        "name": name,
        "draws": draws,
        "exceptions": len(exceptions),
        "first_exception": exceptions[0] if exceptions else None,
        "violations": violations,
        "worst": worst,
        "median": median(ratios),
        "percentile_5": quantiles(ratios, n=20)[0],
        "seconds": round(time.perf_counter() - started, 1),
    }


def _draw(generator: torch.Generator, draw: int) -> tuple[int, float, float]:
    position = torch.rand(2, generator=generator, dtype=torch.float64)
    span = zip(position.tolist(), (LOG_GAMMA, LOG_SCALE), strict=True)
    gamma, scale = (10 ** (low + x * (high - low)) for x, (low, high) in span)
    return SIZES[draw % len(SIZES)], gamma, scale


def _ratio(name: str, n: int, gamma: float, scale: float) -> float:
    entry = registry.parametrizations.get(name)
    module = entry.build(entry.config(gamma=gamma), d_model=n)
    randomise(module, scale)
    with torch.no_grad():
        verified = hinf_norm(module()).norm.max().item()
    if math.isnan(verified):
        raise ArithmeticError("the verified gain is NaN")
    return verified / module.declared_gain()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--names", nargs="*", help="default: all that declare a gain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [sweep(n, arguments.draws, arguments.seed) for n in arguments.names or declaring()]
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        columns = ("name", "draws", "exceptions", "violations", "worst", "median", "percentile_5")
        print("| " + " | ".join((*columns, "seconds")) + " |")
        print("|" + " --- |" * (len(columns) + 1))
        for r in results:
            cells = [f"{r[c]:.6f}" if isinstance(r[c], float) else str(r[c]) for c in columns]
            print("| " + " | ".join([*cells, str(r["seconds"])]) + " |")
    sys.exit(any(r["violations"] or r["exceptions"] for r in results))


if __name__ == "__main__":
    main()
