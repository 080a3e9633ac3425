"""Reduced exponential sums over random draws: orders, bounds, and errors beside them.

    python tools/exponential_sums.py --draws 200

Each draw has 200 terms: real parts of the exponents uniform in [0.1, 10], their imaginary parts and
both parts of the coefficients normal. The table has the tolerance as an absolute number and as a
share of the largest singular value, the two conventions of published tools. With ``--spread`` the
exponents are real and 10^u, u uniform in [-6, 2].
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ssmbench.reduction import Amount
from ssmbench.reduction.sums import ExponentialSum, ReducedSum, reduce_sum


def draw(seed: int, terms: int) -> ExponentialSum:
    """One random sum."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.1, 10, terms) + 1j * rng.standard_normal(terms)
    return ExponentialSum(a, rng.standard_normal(terms) + 1j * rng.standard_normal(terms))


def draw_spread(seed: int, terms: int) -> ExponentialSum:
    """One random sum with exponents over eight orders of magnitude."""
    rng = np.random.default_rng(seed)
    return ExponentialSum(10 ** rng.uniform(-6, 2, terms), rng.standard_normal(terms))


def summary(found: list[ReducedSum], tolerances: Iterable[float]) -> list[str]:
    """The lines of one table; the tolerances are absolute, one for each draw."""
    limits = list(tolerances)
    orders = Counter(len(one.sum) for one in found)
    most = max(orders.values())
    modes = " and ".join(str(order) for order, count in sorted(orders.items()) if count == most)
    gains = [one.hinf_error / one.bound for one in found if one.bound]
    sups = [one.sup_error / limit for one, limit in zip(found, limits, strict=True)]
    over = sum(share > 1 for share in sups)
    rows = {
        "order, smallest / most frequent / largest": f"{min(orders)} / {modes} / {max(orders)}",
        "bound / tolerance, largest": f"{_worst(found, limits):.3f}",
        "H-infinity error / bound, smallest, median, largest": _spread(gains),
        "draws with an H-infinity error above the bound": str(
            sum(one.above_bound for one in found)
        ),
        "sup error / tolerance, smallest, median, largest": _spread(sups),
        "draws with a sup error above the tolerance": f"{over} of {len(found)}",
    }
    counts = ", ".join(f"{order}: {count}" for order, count in sorted(orders.items()))
    return [*(f"{name:52} {value}" for name, value in rows.items()), f"draws by order: {counts}"]


def _worst(found: list[ReducedSum], limits: list[float]) -> float:
    return max(one.bound / limit for one, limit in zip(found, limits, strict=True))


def _spread(values: list[float]) -> str:
    return f"{min(values):.3f} / {float(np.median(values)):.3f} / {max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--terms", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--spread", action="store_true")
    given = parser.parse_args()
    source = draw_spread if given.spread else draw
    sums = [source(seed, given.terms) for seed in range(given.draws)]
    for relative in (False, True):
        amount = Amount(tolerance=given.tolerance, relative=relative)
        found = [reduce_sum(one, amount) for one in sums]
        print("relative tolerance" if relative else "absolute tolerance", given.tolerance)
        units = [float(one.hankel[0]) if relative else 1.0 for one in found]
        print("\n".join(summary(found, [given.tolerance * unit for unit in units])), flush=True)


if __name__ == "__main__":
    main()
