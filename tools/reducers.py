"""Every reducer on the layers of some variants as they start: bound, errors and CPU seconds.

    python tools/reducers.py --share 0.8

The figures are of single layers with random parameters: the largest bound and H-infinity error of
all heads, and the root of the mean square of their H2 errors.
"""

from __future__ import annotations

import argparse
import time

import torch

import ssmbench as sb
from ssmbench.reduction import Amount, proved_error
from ssmbench.registry import reducers
from ssmbench.systems import DiscreteLTI

SIZES = {
    "s4d": {"discretizer": "zoh", "d_state": 64},
    "s5": {"discretizer": "zoh", "d_state": 64},
    "lru": {"d_state": 64},
    "contraction": {"d_state": 64},
    "l2ru": {},
    "linoss": {"discretizer": "backward_euler", "d_state": 64},
}


def layer(name: str, width: int) -> DiscreteLTI:
    """The system of a new layer."""
    with torch.no_grad():
        return sb.layer(name, d_model=width, seed=0, **SIZES[name]).system()


def line(name: str, reducer: str, system: DiscreteLTI, amount: Amount) -> str:
    """The figures of one reducer on one layer."""
    start = time.process_time()
    found = reducers.get(reducer).build().reduce(system, amount)
    seconds = time.process_time() - start
    h2 = found.h2_error.square().mean().sqrt()
    figures = (found.bound.max(), proved_error(system, found.system).max(), found.hinf_error.max())
    values = " ".join(f"{float(value):10.4g}" for value in (*figures, h2))
    sizes = f"{found.order:5} {int(found.orders.max()):5}"
    return f"{name:12} {reducer:22} {sizes} {values} {seconds:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--width", type=int, default=16)
    given = parser.parse_args()
    heads = ("layer", "reducer", "order", "kept", "bound", "proved", "H-infinity", "H2", "seconds")
    print("{:12} {:22} {:>5} {:>5} {:>10} {:>10} {:>10} {:>10} {:>8}".format(*heads))
    for name in SIZES:
        system = layer(name, given.width)
        for reducer in reducers.names():
            print(line(name, reducer, system, Amount(share=given.share)), flush=True)


if __name__ == "__main__":
    main()
