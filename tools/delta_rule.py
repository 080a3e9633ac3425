"""The delta rule's scan: what it costs beside others, and the energy that rounding adds.

    python tools/delta_rule.py                  # both, some minutes
    python tools/delta_rule.py --lengths 64 --rounds 3
    python tools/delta_rule.py --energy 20000

Costs: medians of rounds in turns, of CPU time of forward and of forward and backward, for 64
sequences and 4 heads of 16 channels with 16 keys: the C kernels, a loop in PyTorch (differentiated
by autograd), and the scan of a diagonal time-varying system of as many states (64 channels with 16
modes).

Energy: (|x_L|^2 + |y|^2) / (|x_0|^2 + |u|^2) - 1 in float32 after so many steps, per step. A
rotation loses what it does not write, so each input is the one of which all is written,
u = tan(theta) k' X. Without decay nothing is lost then, and what is measured is rounding, and the
margins against it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.parametrizations.contraction_delta import rotation
from ssmbench.parametrizations.gates import unit_vector
from ssmbench.scans.base import ScanBackend
from ssmbench.scans.delta import sequential_delta_scan
from ssmbench.systems import TimeVaryingDelta, TimeVaryingDiagonal

BATCH, HEADS, WIDTH, KEYS = 64, 4, 16, 16

#: Angles of writing and of reading, in radians.
ANGLES = {
    "1e-4": lambda shape: torch.full(shape, 1e-4),
    "1e-3": lambda shape: torch.full(shape, 1e-3),
    "1e-2": lambda shape: torch.full(shape, 1e-2),
    "random, 0.03 rad": lambda shape: 0.03 * torch.rand(shape),
    "0.3 rad at every 100th step": lambda shape: 0.3 * (torch.rand(shape) < 0.01),
}


def delta_rule(batch: int, length: int, angles: Callable, decay: float) -> TimeVaryingDelta:
    """Random keys and queries, and rotations by these angles."""
    place = (batch, length, HEADS)
    key, query = (unit_vector(torch.randn(*place, KEYS)) for _ in range(2))
    (forget, write), (erase, read) = (
        rotation(torch.logit(angles(place) * (2 / math.pi))) for _ in range(2)
    )
    return TimeVaryingDelta(
        key=key,
        query=query,
        decay=torch.full((*place, 1), decay),
        forget=forget,
        write=write,
        erase=erase,
        read=read,
        width=WIDTH,
    )


def diagonal(batch: int, length: int) -> TimeVaryingDiagonal:
    """As many states, each with a factor of its own at every step."""
    place = (batch, length, HEADS * WIDTH)
    return TimeVaryingDiagonal(
        lam=torch.rand(*place, KEYS),
        B=torch.randn(*place, KEYS, 1),
        C=torch.randn(*place, 1, KEYS),
        D=torch.randn(*place, 1, 1),
    )


# --- costs --------------------------------------------------------------------------------------


def costs(length: int, rounds: int) -> list[dict[str, object]]:
    """Milliseconds of forward, and of forward and backward."""
    torch.manual_seed(0)
    scan = registry.scans.get("cpu").build()
    delta = delta_rule(BATCH, length, torch.rand, 0.99)
    runs = {
        "delta rule, C": _pass(scan, delta),
        "delta rule, loop": _pass(sequential_delta_scan, delta),
        "diagonal, C": _pass(scan, diagonal(BATCH, length)),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            found = _timed(run, False), _timed(run, True)
            if turn:  # the first one warms up
                times[name].append(found)
    rows = []
    for name, found in times.items():
        forward, both = (1e3 * statistics.median(t) for t in zip(*found, strict=True))
        rows.append({"length": length, "scan": name, "forward_ms": forward, "both_ms": both})
    return rows


def _pass(scan: ScanBackend | Callable, system: TimeVaryingDelta | TimeVaryingDiagonal) -> Callable:
    u = torch.randn(BATCH, system.length, system.heads, 1, requires_grad=True)
    leaves = system.map(lambda t: t.detach().requires_grad_())

    def run(backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            y, _ = scan(leaves, u, None)
        if backward:
            torch.autograd.grad(y.sum(), [u, *leaves.tensors().values()])

    return run


def _timed(run: Callable, backward: bool) -> float:
    began = time.process_time()
    run(backward)
    return time.process_time() - began


# --- energy -------------------------------------------------------------------------------------


@torch.no_grad()
def excess(steps: int, angles: str, seeds: int) -> dict[str, object]:
    """The largest energy gained per step in float32, of several random selections."""
    scan, worst = registry.scans.get("cpu").build(), -1.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        system = delta_rule(1, steps, ANGLES[angles], 1.0)
        x0 = torch.randn(1, system.heads, system.states)
        u = written_wholly(system, x0).float()
        y, final = scan(system, u, x0)
        out, given = (sum(t.double().square().sum() for t in p) for p in ((y, final), (u, x0)))
        worst = max(worst, (float(out / given) - 1) / steps)
    return {"angles": angles, "steps": steps, "per_step": worst}


def written_wholly(system: TimeVaryingDelta, x0: Tensor) -> Tensor:
    """The input (1, L, H, 1) of which no energy is lost, step by step in float64."""
    system, inputs = system.double(), []
    X = x0.double().unflatten(1, (system.groups, system.width)).mT[0]  # (G, N, P)
    rows = zip(system.key[0], system.query[0], system.gates()[0], strict=True)
    for k, q, gates in rows:
        forget, write, erase, _ = gates[..., None].unbind(-2)
        held = (k[..., None] * X).sum(1)
        u = write / (1 - forget) * held
        X = X + k[..., None] * (write * u - forget * held)[:, None]
        X = X - q[..., None] * (erase * (q[..., None] * X).sum(1))[:, None]
        inputs.append(u.flatten())
    return torch.stack(inputs)[None, ..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--energy", type=int, default=20_000, help="steps; 0: not measured")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for length in given.lengths:
        for row in costs(length, given.rounds):
            print(jsonio.dumps(row), flush=True)
    for angles in ANGLES if given.energy else ():
        print(jsonio.dumps(excess(given.energy, angles, given.seeds)), flush=True)


if __name__ == "__main__":
    main()
